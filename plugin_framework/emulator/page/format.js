// Numbers and times for people. What is no number or no time of the calendar is shown as such:
// one odd value must not take the whole view with it.

const UNKNOWN = "?";
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
const STEP = 1024;

export function bytes(count) {
  if (!Number.isFinite(count)) return UNKNOWN;
  let unit = 0;
  let left = count;
  while (left >= STEP && unit < UNITS.length - 1) {
    left /= STEP;
    unit += 1;
  }
  const digits = unit && left < 100 ? 1 : 0;
  return `${left.toFixed(digits)}\u00a0${UNITS[unit]}`;
}

export const rate = (perSecond) => `${bytes(perSecond)}/s`;

// Two units at most: nobody needs the seconds of a day.
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return UNKNOWN;
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)}\u00a0s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}\u00a0s`;
  if (whole < 3600) return pair(whole, 60, "min", 1, "s");
  if (whole < 86400) return pair(whole, 3600, "h", 60, "min");
  return pair(whole, 86400, "d", 3600, "h");
}

function pair(seconds, large, largeName, small, smallName) {
  const rest = Math.floor((seconds % large) / small);
  const lead = `${Math.floor(seconds / large)}\u00a0${largeName}`;
  return rest ? `${lead} ${rest}\u00a0${smallName}` : lead;
}

export function age(seconds) {
  if (!Number.isFinite(seconds)) return UNKNOWN;
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))}\u00a0s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}\u00a0min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)}\u00a0h`;
  return `${Math.floor(seconds / 86400)}\u00a0d`;
}

const twoDigits = (number) => String(number).padStart(2, "0");

// Null beyond what a Date can hold, about 270,000 years from now.
function dateOf(at) {
  const date = new Date(Number.isFinite(at) ? at * 1000 : NaN);
  return Number.isNaN(date.getTime()) ? null : date;
}

export function clock(at, { thousandths = false } = {}) {
  const date = dateOf(at);
  if (!date) return UNKNOWN;
  const parts = [date.getHours(), date.getMinutes(), date.getSeconds()].map(twoDigits).join(":");
  return thousandths ? `${parts}.${String(date.getMilliseconds()).padStart(3, "0")}` : parts;
}

export function moment(at) {
  const date = dateOf(at);
  if (!date) return UNKNOWN;
  const day = [date.getFullYear(), twoDigits(date.getMonth() + 1), twoDigits(date.getDate())];
  return `${day.join("-")} ${clock(at)}`;
}

// For a `datetime` attribute, which is left out where this is null.
export const iso = (at) => dateOf(at)?.toISOString() ?? null;

export const plural = (count, one, many = `${one}s`) =>
  `${count?.toLocaleString("en") ?? UNKNOWN} ${count === 1 ? one : many}`;
