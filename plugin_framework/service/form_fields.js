// Which field a part of the schema is drawn as, and the fields that hold others.

function formFields(rules, changed) {
  const { leaf, group, text, number, yesOrNo, choice, constant, nothing, json } =
    formControls(rules);

  // The form: a row for each property, or keys and values where the schema names none.
  function whole(root) {
    if (root.properties) {
      const found = fields(root, {});
      return found.parts.length
        ? found
        : { ...found, parts: [make("p", {}, "There is nothing to set.")] };
    }
    const only = field(root, "Settings", {}, true);
    return { ...only, parts: [only.element] };
  }

  // The rows of a model's properties.
  function fields(schema, initial) {
    const tag = schema.tag;
    const rows = Object.entries(schema.properties ?? {}).map(([key, own]) => {
      const given = Object.hasOwn(initial, key) ? initial[key] : own.default;
      const required = schema.required?.includes(key) ?? false;
      const value = rules.resolve(own).const;
      if (key === tag && value !== undefined) return [key, fixed(value)];
      return [key, field(own, rules.labelOf(own, key), given, required)];
    });
    const all = rows.map(([, row]) => row);
    return {
      parts: all.map((row) => row.element).filter(Boolean),
      read(troubles) {
        const entries = rows.map(([key, row]) => [key, row.read(troubles)]);
        return Object.fromEntries(entries.filter(([, value]) => value !== ABSENT));
      },
      report: () => all.forEach((row) => row.report()),
      reveal: () => all.forEach((row) => row.reveal()),
    };
  }

  // Decimal: its digits are sent as text, so that none is lost.
  function isDecimal({ anyOf }) {
    return anyOf?.length === 2 && anyOf[0].type === "number" && anyOf[1].type === "string";
  }

  const decimal = (facts) =>
    text({ ...facts, schema: { ...facts.schema.anyOf[0], ...facts.schema } });

  const fixed = (value) => ({ element: null, read: () => value, report() {}, reveal() {} });

  // What a property is, with the null of Optional[X] taken out.
  function unwrapped(own) {
    const schema = rules.resolve(own);
    const several = rules.variants(schema);
    if (schema.enum) {
      const values = schema.enum.filter((value) => value !== null);
      return [{ ...schema, enum: values }, values.length < schema.enum.length];
    }
    if (!several) return [schema, false];
    const others = several.filter((variant) => rules.resolve(variant).type !== "null");
    if (others.length === several.length || others.length === 0) return [schema, false];
    const { anyOf, oneOf, type, ...outer } = schema;
    if (others.length > 1) return [{ ...outer, anyOf: others }, true];
    const [inner] = unwrapped(others[0]);
    if ("const" in inner) return [{ ...outer, enum: [inner.const] }, true];
    return [{ ...inner, ...outer, description: outer.description ?? inner.description }, true];
  }

  function field(own, label, initial, required, inList = false) {
    const [schema, nullable] = unwrapped(own);
    const secret = schema.writeOnly || schema.format === "password";
    // The schema has a secret's default as asterisks, which are not to be sent.
    const isUnset = initial === undefined || (initial === null && !nullable);
    const known = isUnset || secret ? ABSENT : initial;
    const described = own.description ?? schema.description;
    const facts = {
      own,
      schema,
      label,
      initial: known,
      required,
      nullable,
      inList,
      secret,
      help: described,
    };
    return drawer(schema)(facts);
  }

  function drawer(schema) {
    if ("const" in schema) return constant;
    if (schema.enum) return choice;
    if (isDecimal(schema)) return decimal;
    if (rules.variants(schema)) return (facts) => optional(facts, union);
    if (schema.type === "object") {
      const isModel = schema.properties || schema.additionalProperties === false;
      return isModel ? (facts) => optional(facts, model) : rows;
    }
    const byType = {
      __proto__: null,
      boolean: yesOrNo,
      integer: number,
      number,
      string: text,
      null: nothing,
    };
    if (schema.type === "array")
      return schema.prefixItems ? (facts) => optional(facts, tuple) : rows;
    return byType[schema.type] ?? json;
  }

  function model(facts) {
    const initial = isObject(facts.initial) ? facts.initial : {};
    const inner = fields(facts.schema, initial);
    return group(
      facts,
      inner.parts,
      (troubles, alone) => inner.read(alone ? [] : troubles),
      () => [inner],
    );
  }

  // A group that may be left out: a box to tick draws it, so that recursive models end.
  function optional(facts, draw) {
    const { nullable, required, initial, label } = facts;
    if (!nullable && (required || initial !== ABSENT)) return draw(facts);
    const control = make("input", { type: "checkbox" });
    const slot = make("div", { class: "slot" });
    let inner = null;
    const show = () => {
      inner = control.checked ? draw({ ...facts, nullable: false, help: undefined }) : null;
      slot.replaceChildren(...(inner ? [inner.element] : []));
    };
    const none = { ...facts, own: {}, schema: {}, required: false };
    const tick = leaf({ ...none, label: `Set ${label}` }, control, () => control.checked, {
      before: true,
    });
    control.checked = initial !== ABSENT && initial !== null;
    control.addEventListener("input", show);
    show();
    return {
      element: make("div", {}, tick.element, slot),
      control,
      read: (troubles) => (inner ? inner.read(troubles) : empty(facts)),
      report: () => inner?.report(),
      reveal: () => inner?.reveal(),
      relabel: (next) => tick.relabel(`Set ${next}`),
    };
  }

  function union(facts) {
    const { schema, initial } = facts;
    const tag = schema.discriminator?.propertyName;
    const several = rules.variants(schema).map((variant) => rules.resolve(variant));
    const fits = several.findIndex(
      (variant) => rules.check(variant, initial).problems.length === 0,
    );
    const start = initial === ABSENT || fits < 0 ? 0 : fits;
    const control = make(
      "select",
      {},
      ...several.map((variant, at) => make("option", { value: String(at) }, kindOf(variant))),
    );
    control.value = String(start);
    const slot = make("div", { class: "slot" });
    const kind = leaf(
      { own: {}, schema: {}, label: "Kind", required: false },
      control,
      () => control.value,
    );
    let inner;
    const show = (value) => {
      const variant = several[control.value];
      if (variant.properties) {
        inner = fields({ ...variant, tag }, isObject(value) ? value : {});
        slot.replaceChildren(...inner.parts);
      } else {
        inner = field({ ...variant, title: undefined }, "Value", value, true);
        slot.replaceChildren(inner.element);
      }
    };
    control.addEventListener("input", () => show(undefined));
    show(initial === ABSENT ? undefined : initial);
    const drawnKind = { ...facts, own: {} }; // the alternative chosen reports its own problems
    return group(
      drawnKind,
      [kind.element, slot],
      (troubles, alone) => inner.read(alone ? [] : troubles),
      () => [inner],
    );
  }

  function kindOf(schema) {
    if ("const" in schema) return String(schema.const);
    if (schema.type === "array" && isObject(schema.items))
      return `List: ${kindOf(rules.resolve(schema.items))}`;
    return schema.title ?? KINDS[schema.type] ?? "JSON";
  }

  function tuple(facts) {
    const initial = Array.isArray(facts.initial) ? facts.initial : [];
    const parts = facts.schema.prefixItems.map((item, at) =>
      field(item, item.title ?? `${facts.label} ${at + 1}`, initial[at], true, true),
    );
    const read = (troubles, alone) =>
      parts.map((part) => present(part.read(alone ? [] : troubles)));
    return group(
      facts,
      parts.map((part) => part.element),
      read,
      () => parts,
    );
  }

  // A place in a list cannot be left out; null is refused there unless the type allows it.
  const present = (value) => (value === ABSENT ? null : value);

  // The rows of a list, or of a dictionary.
  function rows(facts) {
    const { schema, label, initial } = facts;
    const keyed = schema.type === "object";
    const sort = (keyed ? schema.additionalProperties : schema.items) ?? {};
    const sortOf = isObject(sort) ? sort : {};
    const list = make("div", { class: "rows" });
    const add = make("button", { type: "button", "aria-label": `Add to ${label}` }, "Add");
    const start = initial === ABSENT || initial === null ? [] : Object.entries(initial);
    let entries = [];
    const append = (key, value) => {
      const entry = row(sortOf, keyed ? "Value" : `${label} ${entries.length + 1}`, key, value);
      entry.remove.addEventListener("click", () => drop(entry));
      entries.push(entry);
      list.append(entry.element);
      return entry;
    };
    const renumber = () => {
      entries.forEach((entry, at) => {
        entry.remove.setAttribute("aria-label", `Remove ${label} ${at + 1}`);
        entry.element.setAttribute("aria-label", `${label} ${at + 1}`);
        if (!keyed) entry.value.relabel(`${label} ${at + 1}`);
      });
      add.disabled = entries.length >= (schema.maxItems ?? schema.maxProperties ?? Infinity);
    };
    const drop = (entry) => {
      const at = entries.indexOf(entry);
      entries = entries.filter((other) => other !== entry);
      entry.element.remove();
      settle((entries[at] ?? entries.at(-1))?.remove ?? add);
    };
    const settle = (focus) => {
      renumber();
      whole.touch();
      changed();
      (focus.disabled ? entries.at(-1).remove : focus).focus();
    };
    add.addEventListener("click", () => settle(append(keyed ? "" : null).first()));
    const read = (troubles, alone) => {
      if (!entries.length && !facts.required && !start.length) return ABSENT;
      if (!keyed) return entries.map((entry) => present(entry.value.read(alone ? [] : troubles)));
      return keyedRows(entries, label, troubles, alone);
    };
    const whole = group(facts, [list, add], read, () => entries.map((entry) => entry.value));
    for (const [key, value] of start) append(keyed ? key : null, value);
    renumber();
    return { ...whole, control: add };
  }

  function keyedRows(entries, label, troubles, alone) {
    const keys = entries.map((entry) => entry.key.read([]));
    const twice = keys.find((key, at) => keys.indexOf(key) !== at);
    if (twice !== undefined)
      troubles.push({ label, text: `has the key ${JSON.stringify(twice)} twice` });
    return Object.fromEntries(
      entries.map((entry, at) => [keys[at], present(entry.value.read(alone ? [] : troubles))]),
    );
  }

  function row(sort, label, key, value) {
    const remove = make("button", { type: "button" }, "Remove");
    const named =
      key === null
        ? null
        : text({
            own: {},
            schema: { type: "string" },
            label: "Key",
            initial: key,
            required: true,
            inList: true,
          });
    const held = field(sort, label, value, true, true);
    return {
      element: make(
        "div",
        { class: "row", role: "group" },
        named?.element ?? null,
        held.element,
        remove,
      ),
      key: named,
      value: held,
      remove,
      first: () =>
        named?.control ??
        held.control ??
        held.element.querySelector("input, select, textarea, button"),
    };
  }

  return { whole };
}
