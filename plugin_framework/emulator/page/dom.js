// Builds elements. Texts become text nodes, so that markup in them stays text; there is no way
// here to hand over HTML, and none to set an inline style, which the page's policy forbids.

const SVG = "http://www.w3.org/2000/svg";

// `on` holds listeners, `prop` properties; all else are attributes, left out where false or null.
export function h(tag, given = {}, ...children) {
  return filled(document.createElement(tag), given, children);
}

export function s(tag, given = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), given, children);
}

function filled(element, { on = {}, prop = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) attribute(element, name, value);
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return Object.assign(element, prop);
}

export function attribute(element, name, value) {
  if (value === false || value === null || value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) {
    element.setAttribute(name, value === true ? "" : value);
  }
}

// Writes what differs: an equal text would be drawn anew, and could be read out anew.
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

export function show(element, isShown) {
  if (element.hidden === isShown) element.hidden = !isShown;
}

// Like `disabled`, but the button keeps the focus of whoever just pressed it.
export function enable(button, isEnabled) {
  attribute(button, "aria-disabled", isEnabled ? null : "true");
}

export function button(label, press, given = {}) {
  const pressed = (event) => {
    if (event.currentTarget.getAttribute("aria-disabled") !== "true") press(event);
  };
  return h("button", { type: "button", ...given, on: { click: pressed } }, label);
}

export function heading(level, ...children) {
  return h(`h${level}`, level === 1 ? { tabindex: "-1" } : {}, ...children);
}

// One write of the page in each frame, whatever number of updates came since the last one.
export function inFrames(write) {
  let asked = 0;
  return {
    ask() {
      asked ||= requestAnimationFrame(() => {
        asked = 0;
        write();
      });
    },
    stop() {
      cancelAnimationFrame(asked);
      asked = 0;
    },
  };
}

// At once, and then again every second.
export function everySecond(write) {
  write();
  const timer = setInterval(write, 1000);
  return () => clearInterval(timer);
}
