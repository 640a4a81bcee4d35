// The fields of a form.
//
// A field is `{element, control, read, report, reveal, relabel}`. `read(troubles)` gives its value,
// or ABSENT where the key is to be left out, and adds what cannot be said in JSON to `troubles`.
// `report()` shows what is wrong where the field has been touched, `reveal()` wherever it is.

const ABSENT = Symbol("absent");
const MULTILINE = 200; // characters from which a text gets a larger box
const KINDS = {
  __proto__: null,
  string: "Text",
  integer: "Whole number",
  number: "Number",
  boolean: "Yes or no",
  array: "List",
  object: "Object",
  null: "Nothing",
};
const TEXT_TYPES = {
  __proto__: null,
  date: "date",
  email: "email",
  uri: "url",
  password: "password",
};
const CHOICES = new Map([
  [true, "Yes"],
  [false, "No"],
  ["", "(empty)"],
]);
const PLACEHOLDERS = {
  __proto__: null,
  "date-time": "2026-01-31T09:30:00Z",
  time: "09:30:00",
  duration: "01:30:00",
  uuid: "00000000-0000-0000-0000-000000000000",
};

// Several plugins' forms may stand on one page.
const MARK = Math.random().toString(36).slice(2, 8);
let serial = 0;
const nextId = () => `datahub-${MARK}-${(serial += 1)}`;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false)
      element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

// What an empty field stands for: null where only that says so, else no key at all.
function empty({ nullable, required, initial }) {
  const meansNull = nullable && (required || (initial !== ABSENT && initial !== null));
  return meansNull ? null : ABSENT;
}

function limits({
  type,
  minimum,
  maximum,
  exclusiveMinimum,
  exclusiveMaximum,
  multipleOf,
  minLength,
  maxLength,
  minItems,
  maxItems,
  uniqueItems,
}) {
  const words = [
    minimum !== undefined && `at least ${minimum}`,
    exclusiveMinimum !== undefined && `more than ${exclusiveMinimum}`,
    maximum !== undefined && `at most ${maximum}`,
    exclusiveMaximum !== undefined && `less than ${exclusiveMaximum}`,
    multipleOf !== undefined && `a multiple of ${multipleOf}`,
    minLength > 1 && `at least ${minLength} characters`,
    maxLength !== undefined && `at most ${maxLength} characters`,
    minItems !== undefined && minItems !== maxItems && `at least ${plural(minItems, "item")}`,
    maxItems !== undefined && minItems !== maxItems && `at most ${plural(maxItems, "item")}`,
    type === "array" && uniqueItems && "repeated items count once",
  ]
    .filter(Boolean)
    .join(", ");
  return words && `${words[0].toUpperCase()}${words.slice(1)}.`;
}

function placeholder({ schema, secret }) {
  const example = schema.examples?.[0];
  if (secret || example === undefined) return PLACEHOLDERS[schema.format];
  return typeof example === "string" ? example : JSON.stringify(example);
}

function formControls(rules) {
  function leaf(facts, control, value, { before = false } = {}) {
    const id = nextId();
    const { label: text, schema, required, nullable, inList } = facts;
    const isMarked = required && !nullable && !inList && control.type !== "checkbox";
    const hint = [facts.help, limits(schema)].filter(Boolean).join(" ");
    const title = make("label", { for: id, class: isMarked && "required" }, text);
    const help = hint ? make("p", { class: "hint", id: `${id}-hint` }, hint) : null;
    const error = make("p", { class: "error", id: `${id}-error`, role: "alert" });
    control.id = id;
    control.setAttribute("aria-describedby", `${help ? `${help.id} ` : ""}${error.id}`);
    if (isMarked) control.setAttribute("aria-required", "true");
    let touched = false;
    const problem = () => {
      const troubles = [];
      const read = value(troubles);
      if (troubles.length) return troubles[0].text;
      if (read === ABSENT) return required ? "is required" : "";
      const [first] = rules.check(facts.own, read).problems;
      return first ? [...first.at, first.text].join(" ") : "";
    };
    const report = () => {
      const found = touched ? problem() : "";
      if (error.textContent !== found) error.textContent = found;
      if (found) control.setAttribute("aria-invalid", "true");
      else control.removeAttribute("aria-invalid");
    };
    const reveal = () => ((touched = true), report());
    control.addEventListener("change", reveal);
    const order = before ? [make("div", { class: "tick" }, control, title)] : [title, control];
    return {
      element: make("div", { class: "field" }, ...order, help, error),
      control,
      report,
      reveal,
      read: value,
      relabel: (next) => (title.textContent = next),
    };
  }

  function text(facts) {
    const { schema, initial, secret, nullable, inList } = facts;
    const start = initial === ABSENT || initial === null ? "" : String(initial);
    const long = schema.maxLength >= MULTILINE || start.includes("\n");
    const inputmode = schema.anyOf && "decimal";
    const attributes = { placeholder: placeholder(facts), spellcheck: "false", inputmode };
    const type = inputType(schema, start);
    const control =
      long && !secret
        ? make("textarea", { ...attributes, rows: "4" })
        : make("input", { ...attributes, type, autocomplete: secret ? "new-password" : "off" });
    control.value = start;
    // Cleared where the server's default is another text, and in a list, it is an empty text.
    const cleared = !nullable && (inList || start !== "") ? "" : empty(facts);
    return leaf(facts, control, () => (control.value === "" ? cleared : control.value));
  }

  // A kind of input that would not show the default is not used.
  function inputType(schema, start) {
    const type = TEXT_TYPES[schema.format] ?? (schema.writeOnly ? "password" : "text");
    const shown = make("input", { type });
    shown.value = start;
    return shown.value === start ? type : "text";
  }

  function number(facts) {
    const { schema, initial } = facts;
    const whole = schema.type === "integer";
    const control = make("input", {
      type: "number",
      step: schema.multipleOf ?? (whole ? 1 : "any"),
      inputmode: whole ? "numeric" : "decimal",
      min: schema.minimum ?? schema.exclusiveMinimum,
      max: schema.maximum ?? schema.exclusiveMaximum,
      placeholder: placeholder(facts),
      autocomplete: "off",
    });
    control.value = initial === ABSENT || initial === null ? "" : String(initial);
    return leaf(facts, control, (troubles) => {
      if (control.validity.badInput)
        troubles.push({ label: facts.label, text: "must be a number" });
      const typed = control.value;
      if (typed === "") return empty(facts);
      const value = Number(typed);
      // As text, so that nothing is sent that was not typed.
      return whole && Number.isInteger(value) && !Number.isSafeInteger(value) ? typed : value;
    });
  }

  function yesOrNo(facts) {
    const { initial, required, nullable } = facts;
    if (nullable || (!required && initial === ABSENT)) {
      return choice({ ...facts, schema: { ...facts.schema, enum: [true, false] } });
    }
    const control = make("input", { type: "checkbox" });
    control.checked = initial === true;
    return leaf(facts, control, () => control.checked, { before: true });
  }

  function choice(facts) {
    const { schema, initial, required, nullable } = facts;
    const blank = nullable || initial === ABSENT;
    const nothing = required && !nullable ? "Choose…" : "—";
    const option = (value, label) => make("option", { value: String(value) }, label);
    const control = make("select", {}, blank ? option("", nothing) : null);
    control.append(
      ...schema.enum.map((value, at) => option(at, CHOICES.get(value) ?? String(value))),
    );
    const start = schema.enum.findIndex((value) => value === initial);
    control.value = start < 0 ? "" : String(start);
    return leaf(facts, control, () =>
      control.value === "" ? empty(facts) : schema.enum[control.value],
    );
  }

  function constant(facts) {
    const value = facts.schema.const;
    const control = make("output", {}, String(value));
    return leaf(facts, control, () => value);
  }

  const nothing = (facts) => leaf(facts, make("output", {}, "Nothing"), () => null);

  function json(facts) {
    const { initial } = facts;
    const control = make("textarea", {
      rows: "4",
      spellcheck: "false",
      placeholder: placeholder(facts) ?? '{"key": "value"}',
    });
    control.value = initial === ABSENT || initial === null ? "" : JSON.stringify(initial, null, 2);
    const hint = [facts.help, "As JSON."].filter(Boolean).join(" ");
    return leaf({ ...facts, help: hint }, control, (troubles) => {
      if (control.value.trim() === "") return empty(facts);
      try {
        return exactly(control.value);
      } catch (error) {
        const text = error instanceof RangeError ? error.message : "must be JSON";
        troubles.push({ label: facts.label, text });
        return control.value;
      }
    });
  }

  function exactly(source) {
    return JSON.parse(source, (_, value) => {
      if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
        throw new RangeError(
          `must not hold integers beyond ${SAFE}: a page holds no other exactly`,
        );
      }
      return value;
    });
  }

  // A group of fields, with the errors of the whole.
  function group(facts, body, value, parts) {
    const id = nextId();
    const hint = [facts.help, facts.schema.type === "array" && limits(facts.schema)]
      .filter(Boolean)
      .join(" ");
    const legend = make(
      "legend",
      { class: facts.required && !facts.nullable && !facts.inList && "required" },
      facts.label,
    );
    const help = hint ? make("p", { class: "hint", id: `${id}-hint` }, hint) : null;
    const error = make("p", { class: "error", id: `${id}-error`, role: "alert" });
    const described = `${help ? `${help.id} ` : ""}${error.id}`;
    let touched = false;
    const problem = () => {
      const troubles = [];
      const read = value(troubles, true);
      if (troubles.length) return troubles[0].text;
      if (read === ABSENT) return facts.required ? "is required" : "";
      return rules.check(facts.own, read).problems.find(({ at }) => at.length === 0)?.text ?? "";
    };
    const report = () => {
      const found = touched ? problem() : "";
      if (error.textContent !== found) error.textContent = found;
      parts().forEach((part) => part.report());
    };
    return {
      element: make("fieldset", { "aria-describedby": described }, legend, help, ...body, error),
      read: value,
      report,
      touch: () => (touched = true),
      reveal() {
        touched = true;
        parts().forEach((part) => part.reveal());
        report();
      },
      relabel: (next) => (legend.textContent = next),
    };
  }

  return { leaf, group, text, number, yesOrNo, choice, constant, nothing, json };
}
