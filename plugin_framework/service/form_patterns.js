// Patterns of pydantic are those of Rust's regex crate; the browser's are others.

const WORD = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u200c\\u200d";
const EDGE = `(?:(?<=[${WORD}])(?![${WORD}])|(?<![${WORD}])(?=[${WORD}]))`;
const INSIDE = `(?:(?<=[${WORD}])(?=[${WORD}])|(?<![${WORD}])(?![${WORD}]))`;
const OUTSIDE_CLASS = {
  w: `[${WORD}]`,
  W: `[^${WORD}]`,
  b: EDGE,
  B: INSIDE,
  A: "(?<![^])",
  z: "(?![^])",
  Z: "(?![^])",
};
const ANYWHERE = {
  d: "\\p{Nd}",
  D: "\\P{Nd}",
  s: "\\p{White_Space}",
  S: "\\P{White_Space}",
  a: "\\x07",
  n: "\\n",
  r: "\\r",
  t: "\\t",
  f: "\\f",
  v: "\\v",
};

const POSIX = {
  __proto__: null,
  alnum: "0-9A-Za-z",
  alpha: "A-Za-z",
  blank: "\\t ",
  digit: "0-9",
  lower: "a-z",
  punct: "!-\\/:-@\\[-`{-~",
  space: "\\t-\\r ",
  upper: "A-Z",
  word: "0-9A-Za-z_",
  xdigit: "0-9A-Fa-f",
};

// The same pattern as a RegExp, or null where there is none that surely means the same.
function compiled(pattern) {
  const flags = /^\(\?([is]+)\)/.exec(pattern);
  const dot = flags?.[1].includes("s") ? "[^]" : "[^\\n]";
  const text = translated(pattern.slice(flags?.[0].length ?? 0), dot);
  try {
    return text === null ? null : new RegExp(text, flags?.[1].includes("i") ? "iu" : "u");
  } catch {
    return null;
  }
}

const TOKENS = new RegExp(
  [
    /\\(?:x\{[0-9A-Fa-f]+\}|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[pP](?:\{\w+\}|\w)|[^])/, // escapes
    /\(\?P?<(?=\w)|\(\?(?:<?[=!]|:)?/, // how groups open
    /\{\d+(?:,\d*)?\}/, // how often
    /\[:\^?\w+:\]|\[\^?\]?|&&|--|~~/, // classes; one that begins with a bracket holds it
    /[^]/,
  ]
    .map((part) => part.source)
    .join("|"),
  "gu",
);

function translated(pattern, dot) {
  let inClass = false;
  let out = "";
  for (const [token] of pattern.matchAll(TOKENS)) {
    const next = inClass ? insideClass(token) : outsideClass(token, dot);
    if (next === null) return null;
    if (inClass ? token === "]" : token[0] === "[") inClass = !inClass;
    out += next;
  }
  return out;
}

function outsideClass(token, dot) {
  if (token === ".") return dot;
  if (token === "(?") return null; // flags within the pattern
  if (token.startsWith("(?P")) return "(?<";
  if (token === "]" || token === "}") return `\\${token}`;
  if (/^\[\^?\]$/.test(token)) return `${token.slice(0, -1)}\\]`;
  return token[0] === "\\" ? (OUTSIDE_CLASS[token[1]] ?? escaped(token, false)) : token;
}

function insideClass(token) {
  if (token.startsWith("[:")) return POSIX[token.slice(2, -2)] ?? null;
  // Nested classes and operations on sets are Rust's alone.
  if (token[0] === "[" || ["&&", "--", "~~"].includes(token)) return null;
  if (token === "\\w") return WORD;
  return token[0] === "\\" ? escaped(token, true) : token;
}

function escaped(token, inClass) {
  const letter = token[1];
  if (letter === "x" || letter === "u" || letter === "p" || letter === "P") {
    if (token.startsWith("\\x{")) return `\\u${token.slice(2)}`;
    return /^\\[pP]\w$/u.test(token) ? `\\${letter}{${token[2]}}` : token;
  }
  if (Object.hasOwn(ANYWHERE, letter)) return ANYWHERE[letter];
  if (/[\p{L}\p{N}]/u.test(letter)) return null;
  return /[$^\\.*+?()[\]{}|/]/u.test(letter) || (inClass && letter === "-") ? token : letter;
}
