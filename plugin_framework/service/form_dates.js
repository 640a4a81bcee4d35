// Which texts and numbers pydantic takes for dates and times.

const CLOCK =
  /^([01]\d|2[0-3]):[0-5]\d(:[0-5]\d([.,]\d+)?)?(z|[+\-\u2212]([01]\d|2[0-3]):?[0-5]\d)?$/i;
const MIDNIGHT = /^00:00(:00([.,](?:0{6}\d*|0{1,5}))?)?(z|[+\-\u2212]\d\d:?\d\d)?$/i;
const SPAN_CLOCK =
  "(?:\\d{2,9}:[0-5]\\d(?::[0-5]\\d(?:[.,]\\d+)?)?|\\d:[0-5]\\d:[0-5]\\d(?:[.,]\\d+)?)";
const SPAN_OF_CLOCK = new RegExp(`^[+-]?${SPAN_CLOCK}$`);
const SPAN_OF_DAYS = new RegExp(`^[+-]?(\\d+) ?d(?:ays?)?,? ?${SPAN_CLOCK}?$`, "i");
const AMOUNT = "\\d+(?:[.,]\\d*)?";
const SPAN_OF_UNITS = new RegExp(
  `^[+-]?P(?!T?$)((?:${AMOUNT}[YMWD])*)(?:T((?:${AMOUNT}[HMS])*))?$`,
);
const DAY = 86400;
const LONGEST = 1e9; // days of a timedelta

function isDay(text) {
  const found = /^(\d{4})-(\d\d)-(\d\d)$/.exec(text);
  if (!found || found[1] === "0000") return false;
  const [year, month, day] = found.slice(1).map(Number);
  const last = [
    31,
    year % 4 || (!(year % 100) && year % 400) ? 28 : 29,
    31,
    30,
    31,
    30,
    31,
    31,
    30,
    31,
    30,
    31,
  ];
  return day >= 1 && day <= (last[month - 1] ?? 0);
}

// Seconds since 1970 that a number stands for, or null: large numbers are milliseconds.
function seconds(value) {
  if (typeof value === "string") {
    if (!/^[+-]?(\d+\.?\d*|\.\d+)$/.test(value)) return null;
    value = Number(value);
  }
  if (typeof value !== "number") return null;
  const found = Math.abs(value) > 2e10 ? value / 1000 : value;
  return found >= -62135596800 && found < 253402300800 ? found : null;
}

function splitMoment(text) {
  const found = /^(.{10})[Tt _](.*)$/s.exec(text);
  return found && isDay(found[1]) ? found[2] : null;
}

const TIME_FORMATS = {
  __proto__: null,

  date(value) {
    if (typeof value === "string" && isDay(value)) return true;
    const clock = typeof value === "string" ? splitMoment(value) : null;
    if (clock !== null) return CLOCK.test(clock) && MIDNIGHT.test(clock);
    const since = seconds(value);
    return since !== null && Math.round(since * 1e6) % (DAY * 1e6) === 0;
  },
  "date-time"(value) {
    if (typeof value === "string" && isDay(value)) return true;
    const clock = typeof value === "string" ? splitMoment(value) : null;
    return clock === null ? seconds(value) !== null : CLOCK.test(clock);
  },
  time(value) {
    if (typeof value === "string") return CLOCK.test(value);
    return typeof value === "number" && value >= 0 && Math.round(value * 1e6) < DAY * 1e6;
  },
  duration(value) {
    const numeric = typeof value === "number" || typeof value === "boolean";
    if (numeric || typeof value !== "string") return numeric && Math.abs(value) < LONGEST * DAY;
    const days = SPAN_OF_DAYS.exec(value);
    if (days) return Number(days[1]) < LONGEST;
    return SPAN_OF_CLOCK.test(value) || daysOf(value) < LONGEST;
  },
};

// Days of an ISO 8601 duration, of which only the last number may have a fraction; else NaN.
function daysOf(text) {
  const found = SPAN_OF_UNITS.exec(text);
  if (!found || /[.,]\d*[A-Z]./.test(text)) return NaN;
  const sum = (part = "", units) =>
    [...part.matchAll(/([\d.,]+)([A-Z])/g)].reduce(
      (total, [, amount, unit]) => total + Number(amount.replace(",", ".")) * units[unit],
      0,
    );
  return (
    sum(found[1], { Y: 365, M: 30, W: 7, D: 1 }) +
    sum(found[2], { H: 1 / 24, M: 1 / 1440, S: 1 / DAY })
  );
}
