// The page contract of PROTOCOL.md, 2.6: what Datahub's page calls.

function configPage(given, name, style) {
  const rules = configRules({ type: "object", ...given }); // a config is an object, whatever else
  const { root } = rules;
  let drawn = null;

  function init(containerId, updateConfig) {
    const container = document.getElementById(containerId);
    if (!container) throw new Error(`there is no element with the id ${containerId}`);
    const page = { troubles: [], sent: "", telling: false };
    const tell = () => {
      page.troubles = [];
      const config = page.field.read(page.troubles);
      page.sent = JSON.stringify(config);
      page.field.report();
      page.telling = true;
      try {
        updateConfig(config);
      } finally {
        page.telling = false;
      }
    };
    page.field = formFields(rules, tell).whole(root);
    const form = make("form", { class: "datahub-form", "aria-label": name, novalidate: true });
    form.append(...page.field.parts);
    form.addEventListener("input", tell);
    form.addEventListener("submit", (event) => event.preventDefault()); // Enter sends nothing
    styled(container);
    container.replaceChildren(form);
    drawn = page;
    tell();
  }

  function validateConfig(config) {
    const sent = JSON.stringify(config) ?? "null";
    let { problems } = rules.check(root, JSON.parse(sent)); // as the server would see it
    if (drawn?.sent === sent) {
      const { troubles } = drawn;
      const isTold = ({ at }) => troubles.some(({ label }) => label === at.at(-1));
      const told = troubles.map(({ label, text }) => ({ at: [label], text }));
      problems = [...problems.filter((problem) => !isTold(problem)), ...told];
      // Asked about the form as it stands, and not at every key pressed: show what is wrong.
      if (!drawn.telling) drawn.field.reveal();
    }
    const message = [...new Set(problems.map(sentence))].join("; ");
    return { valid: problems.length === 0, message };
  }

  const sentence = ({ at, text }) => `${at.join(" › ") || "The configuration"}: ${text}`;

  // A constructed sheet, which a Content-Security-Policy without 'unsafe-inline' allows.
  function styled(container) {
    const place = container.getRootNode();
    if (place.adoptedStyleSheets.some((sheet) => sheet.datahub === style)) return;
    const sheet = Object.assign(new CSSStyleSheet(), { datahub: style });
    sheet.replaceSync(style);
    place.adoptedStyleSheets = [...place.adoptedStyleSheets, sheet];
  }

  return { init, validateConfig };
}
