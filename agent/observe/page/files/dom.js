/** Elements are made from text alone: names and paths come from strangers, and no text of theirs is ever read as HTML. */

export const $ = (id) => document.getElementById(id);

/** An element with attributes (`class`, `title` ...) and children: elements or text. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== undefined) element.setAttribute(key, value);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ''));
  return element;
}

/** Replaces the content only when it changed, so that a selection, the focus and a reader's place stay. */
export function show(target, ...children) {
  const next = el('div', {}, ...children);
  if (target.dataset.shown === next.innerHTML) return;
  target.dataset.shown = next.innerHTML;
  target.replaceChildren(...next.childNodes);
}

/** Text in which `words like these` are commands. */
export function prose(text) {
  return text.split('`').map((part, i) => (i % 2 === 1 ? el('code', {}, part) : part));
}

export function time(iso, text) {
  return el('time', { datetime: iso, title: iso }, text);
}
