// Whether the server will take a config: the rules of pydantic on what its JSON Schema tells.
//
// Pydantic is lenient: it takes "5" and 5.0 for an integer, and 1 or "yes" for a boolean. So is
// this. Whatever a JSON Schema cannot tell, the server decides.

const SAFE = Number.MAX_SAFE_INTEGER;
const TRUE_WORDS = ["1", "on", "t", "true", "y", "yes"];
const FALSE_WORDS = ["0", "off", "f", "false", "n", "no"];
const UUID = /^(?:(?:urn:uuid:)?H{8}-H{4}-H{4}-H{4}-H{12}|\{H{8}-H{4}-H{4}-H{4}-H{12}\}|H{32})$/;
const BYTE = "(?:25[0-5]|2[0-4]\\d|1?\\d?\\d)";
const TEXT_FORMATS = {
  __proto__: null,
  uuid: new RegExp(UUID.source.replaceAll("H", "[0-9A-Fa-f]")),
  ipv4: new RegExp(`^(?:(?!0\\d)${BYTE}\\.){3}(?!0\\d)${BYTE}$`),
};
const FORMAT_NAMES = {
  __proto__: null,
  date: "a date (YYYY-MM-DD)",
  "date-time": "a date and time (YYYY-MM-DDTHH:MM)",
  time: "a time of day (HH:MM)",
  duration: "a duration (HH:MM:SS, or such as P1DT2H)",
  uuid: "a UUID",
  ipv4: "an IPv4 address",
};

const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const trimmed = (text) => text.replace(/^\p{White_Space}+|\p{White_Space}+$/gu, "");
const titleOf = (key) => {
  const words = key.replaceAll("_", " ").trim();
  return words ? words[0].toUpperCase() + words.slice(1) : key;
};

// A number as Python's str() has it, which counts where numbers are taken for text.
function numeral(value) {
  if (Number.isInteger(value) || Math.abs(value) >= 1e-4) return String(value);
  const [digits, exponent] = value.toExponential().split("e-");
  return `${digits}e-${exponent.padStart(2, "0")}`;
}

function sameValue(one, other) {
  const plain = (value) => (typeof value === "boolean" ? Number(value) : value);
  return JSON.stringify(plain(one)) === JSON.stringify(plain(other));
}

// `check(schema, value)` gives `{value, problems}`: the value as the server would read it, and
// what is wrong, each `{at, text}` with the labels that lead to the field.
function configRules(given) {
  const patterns = new Map();
  const root = resolve(given);

  function resolve(schema) {
    for (let hops = 0; isObject(schema) && hops < 100; hops += 1) {
      const { $ref, allOf, ...own } = schema;
      if ($ref !== undefined) schema = { ...pointed($ref), ...own };
      else if (allOf?.length === 1) schema = { ...allOf[0], ...own };
      else return schema;
    }
    return {};
  }

  function pointed(reference) {
    const steps = reference.replace(/^#\/?/, "").split("/").filter(Boolean);
    const unescape = (step) => decodeURIComponent(step).replaceAll("~1", "/").replaceAll("~0", "~");
    return steps.reduce((place, step) => place?.[unescape(step)], given) ?? {};
  }

  // The alternatives of a schema, or null where it is a single one.
  function variants(schema) {
    if (schema.anyOf || schema.oneOf) return schema.anyOf ?? schema.oneOf;
    return Array.isArray(schema.type) ? schema.type.map((type) => ({ ...schema, type })) : null;
  }

  function check(schema, value) {
    const problems = [];
    const read = visit(schema, value, { at: [], problems, numbersAsText: true });
    return { value: read, problems };
  }

  const refuse = (place, text) => void place.problems.push({ at: place.at, text });
  const within = (place, label) => ({ ...place, at: [...place.at, label] });

  function visit(given, value, place) {
    const schema = resolve(given);
    if ("const" in schema) return oneOf([schema.const], value, place);
    if (schema.enum) return oneOf(schema.enum, value, place);
    const several = variants(schema);
    if (several) return union(schema, several, value, place);
    const rule = RULES[schema.type];
    return rule ? rule(schema, value, place) : value;
  }

  function oneOf(values, value, place) {
    const found = values.find((candidate) => sameValue(candidate, value));
    const words = values.map((candidate) => JSON.stringify(candidate));
    if (found === undefined) refuse(place, `must be ${words.join(" or ")}`);
    return found;
  }

  function union(schema, several, value, place) {
    const tag = schema.discriminator?.mapping && schema.discriminator.propertyName;
    if (tag !== undefined) return tagged(schema.discriminator, tag, value, place);
    const tries = several.map((variant) => {
      const problems = [];
      return { problems, value: visit(variant, value, { ...place, problems }) };
    });
    const taken = tries.find((tried) => tried.problems.length === 0);
    if (taken) return taken.value;
    // The alternative that was meant is the one whose kind is right.
    const meant = tries.filter((tried) =>
      tried.problems.every((p) => p.at.length > place.at.length),
    );
    const texts = new Set(tries.map((tried) => tried.problems[0].text));
    texts.delete("must be left out");
    if (meant.length === 1) place.problems.push(...meant[0].problems);
    else refuse(place, [...texts].join(", or "));
  }

  function tagged({ mapping }, key, value, place) {
    if (!isObject(value)) return refuse(place, "must be an object");
    if (!Object.hasOwn(value, key)) return refuse(within(place, titleOf(key)), "is required");
    const tag = String(value[key]);
    if (Object.hasOwn(mapping, tag)) return visit({ $ref: mapping[tag] }, value, place);
    refuse(within(place, titleOf(key)), `must be ${Object.keys(mapping).join(" or ")}`);
  }

  const RULES = {
    __proto__: null,

    null(schema, value, place) {
      if (value !== null) refuse(place, "must be left out");
      return null;
    },

    boolean(schema, value, place) {
      if (typeof value === "boolean") return value;
      const isWord = typeof value === "string" || typeof value === "number";
      const word = isWord ? String(value).toLowerCase() : null;
      if (TRUE_WORDS.includes(word)) return true;
      if (!FALSE_WORDS.includes(word)) refuse(place, "must be yes or no");
      return false;
    },

    integer(schema, value, place) {
      const read = integerOf(value);
      if (read === null) return refuse(place, "must be a whole number");
      if (!Number.isSafeInteger(read)) {
        return refuse(place, `must be between -${SAFE} and ${SAFE}: a page holds no other exactly`);
      }
      return bounded(schema, read, place);
    },

    number(schema, value, place) {
      const read = floatOf(value);
      return read === null ? refuse(place, "must be a number") : bounded(schema, read, place);
    },

    string(schema, value, place) {
      const isTime = TIME_FORMATS[schema.format];
      if (isTime) return formatted(schema, value, place, isTime);
      const numeric = typeof value === "number" || typeof value === "boolean";
      if (schema.format === "ipv4" && numeric) return formatted(schema, value, place, isAddress);
      const textual = typeof value === "number" && place.numbersAsText;
      if (textual && [undefined, "password"].includes(schema.format)) value = numeral(value);
      if (typeof value !== "string") return refuse(place, "must be text");
      const known = TEXT_FORMATS[schema.format];
      if (known) formatted(schema, value, place, (text) => known.test(text));
      return text(schema, value, place);
    },

    array(schema, value, place) {
      if (!Array.isArray(value)) return refuse(place, "must be a list");
      const read = value.map((item, index) => {
        const sort = schema.prefixItems?.[index] ?? schema.items ?? {};
        return visit(sort === true ? {} : sort, item, within(place, String(index + 1)));
      });
      const items = schema.uniqueItems ? distinct(schema, read, place) : read;
      counted(items.length, schema.minItems, schema.maxItems, "item", place);
      return items;
    },

    object(schema, value, place) {
      if (!isObject(value)) return refuse(place, "must be an object");
      const known = schema.properties ?? {};
      const others = schema.additionalProperties;
      const isModel = Boolean(schema.properties) || others === false;
      // PluginConfig takes numbers for text and refuses unknown keys; a plain model does neither.
      const isLenient = schema.properties === root.properties || others === false;
      const inner = { ...place, numbersAsText: isModel ? isLenient : place.numbersAsText };
      for (const key of schema.required ?? []) {
        if (!Object.hasOwn(value, key))
          refuse(within(place, labelOf(known[key], key)), "is required");
      }
      if (schema.propertyNames) keys(schema.propertyNames, value, inner);
      const count = Object.keys(value).length;
      counted(count, schema.minProperties, schema.maxProperties, "key", place);
      return Object.fromEntries(
        Object.entries(value).map(([key, item]) => {
          if (Object.hasOwn(known, key)) {
            return [key, visit(known[key], item, within(inner, labelOf(known[key], key)))];
          }
          if (others === false) refuse(within(place, key), "is not known here");
          return [key, isObject(others) ? visit(others, item, within(inner, key)) : item];
        }),
      );
    },
  };

  const isAddress = (value) => Number.isInteger(Number(value)) && value >= 0 && value < 2 ** 32;

  function integerOf(value) {
    if (typeof value === "boolean") return Number(value);
    if (typeof value === "number") return Number.isInteger(value) ? value : null;
    if (typeof value !== "string") return null;
    const found = /^([+-]?\d+(?:_\d+)*)(?:\.0+)?$/.exec(trimmed(value));
    return found ? Number(found[1].replaceAll("_", "")) : null;
  }

  function floatOf(value) {
    if (typeof value === "boolean" || typeof value === "number") return Number(value);
    if (typeof value !== "string") return null;
    const text = trimmed(value);
    if (/^_|__|_$/.test(text)) return null;
    const plain = text.replaceAll("_", "").toLowerCase();
    const words = /^([+-]?)(?:inf(?:inity)?|(nan))$/.exec(plain);
    if (words) return words[2] ? NaN : words[1] === "-" ? -Infinity : Infinity;
    return /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/.test(plain) ? Number(plain) : null;
  }

  function bounded(schema, value, place) {
    const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = schema;
    // Written so that NaN, which compares with nothing, is outside of every bound.
    if (minimum !== undefined && !(value >= minimum)) refuse(place, `must be at least ${minimum}`);
    if (maximum !== undefined && !(value <= maximum)) refuse(place, `must be at most ${maximum}`);
    if (exclusiveMinimum !== undefined && !(value > exclusiveMinimum)) {
      refuse(place, `must be more than ${exclusiveMinimum}`);
    }
    if (exclusiveMaximum !== undefined && !(value < exclusiveMaximum)) {
      refuse(place, `must be less than ${exclusiveMaximum}`);
    }
    if (multipleOf !== undefined && !isMultiple(value, multipleOf, schema.type)) {
      refuse(place, `must be a multiple of ${multipleOf}`);
    }
    return value;
  }

  function isMultiple(value, step, type) {
    if (!Number.isFinite(value)) return true;
    if (type === "integer") return value % step === 0;
    return Math.abs(Math.round(value / step) * step - value) <= 1e-9;
  }

  function formatted(schema, value, place, accepts) {
    if (!accepts(value)) refuse(place, `must be ${FORMAT_NAMES[schema.format]}`);
    return value;
  }

  function text(schema, value, place) {
    const { minLength, maxLength, pattern, format } = schema;
    const bytes = format === "binary";
    const length = bytes ? new TextEncoder().encode(value).length : [...value].length;
    counted(length, minLength, maxLength, bytes ? "byte" : "character", place);
    if (pattern !== undefined && !matches(pattern, value)) {
      refuse(place, `must match the pattern ${pattern}`);
    }
    if (/\p{Surrogate}/u.test(value) && (bytes || pattern || minLength || maxLength)) {
      refuse(place, "must be Unicode text");
    }
    if (schema.contentMediaType === "application/json") return embedded(schema, value, place);
    return value;
  }

  function embedded(schema, value, place) {
    try {
      return visit(schema.contentSchema ?? {}, JSON.parse(value), place);
    } catch {
      return refuse(place, "must be JSON");
    }
  }

  function matches(pattern, value) {
    if (!patterns.has(pattern)) patterns.set(pattern, compiled(pattern));
    return patterns.get(pattern)?.test(value) ?? true;
  }

  function counted(count, least = 0, most = Infinity, noun, place) {
    if (count < least) refuse(place, `must have at least ${plural(least, noun)}`);
    if (count > most) refuse(place, `must have at most ${plural(most, noun)}`);
  }

  // Repeated items of a set count once, and are no mistake.
  function distinct(schema, items, place) {
    const anything = Object.keys(resolve(schema.items ?? {})).every((key) => key === "title");
    if (anything && items.some((item) => typeof item === "object" && item !== null)) {
      refuse(place, "must not hold lists or objects");
    }
    return items.filter((item, at) => items.findIndex((other) => sameValue(other, item)) === at);
  }

  function keys(names, value, place) {
    const rule = names.$ref ? names : { type: "string", ...names };
    for (const key of Object.keys(value)) visit(rule, key, within(place, key));
  }

  const labelOf = (schema, key) => schema?.title || titleOf(key);

  return { root, check, labelOf, resolve, variants };
}
