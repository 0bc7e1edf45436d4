// The body of a function that lists the accessibility problems of the page as shown.
const found = [];
const isShown = (node) => node.checkVisibility({ visibilityProperty: true });
const dialog = document.querySelector("dialog[open]");
const root = dialog ?? document.body;

if (document.documentElement.scrollWidth > innerWidth) found.push(`${document.documentElement.scrollWidth} wide`);
if (!document.documentElement.lang) found.push("no language");
if (!document.title) found.push("no title");
if (document.querySelectorAll("main").length !== 1) found.push("not one main");

const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) found.push(`#${id} twice`);

let last = 0;
for (const heading of [...root.querySelectorAll("h1, h2, h3, h4")].filter(isShown)) {
  const level = Number(heading.localName[1]);
  if (last > 0 && level > last + 1) found.push(`h${level} after h${last}: ${heading.innerText}`);
  last = level;
}

for (const node of root.querySelectorAll("button, input, select, summary, a[href], output[aria-label], dialog")) {
  if (!isShown(node)) continue;
  const named = (node.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => document.getElementById(id)?.innerText ?? "");
  const labels = [...(node.labels ?? [])].map((label) => label.innerText);
  const name = [node.getAttribute("aria-label"), ...named, ...labels, node.innerText].join("").trim();
  if (!name) found.push(`no name: ${node.outerHTML.slice(0, 80)}`);
  const { height } = node.getBoundingClientRect();
  if (["button", "select"].includes(node.localName) && height < 24) found.push(`${height} high: ${name}`);
}
for (const image of root.querySelectorAll("img:not([alt])")) found.push(`no alt: ${image.src}`);
for (const node of document.querySelectorAll("[aria-labelledby], [aria-describedby]")) {
  for (const name of ["aria-labelledby", "aria-describedby"]) {
    for (const id of (node.getAttribute(name) ?? "").split(" ").filter(Boolean)) {
      if (!document.getElementById(id)) found.push(`${name}=${id} leads nowhere`);
    }
  }
}

// The WCAG 2 contrast of every text on its background.
const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
const luminance = ([red, green, blue]) => {
  const [r, g, b] = [red, green, blue].map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const [r, g, b, alpha = 1] = channels(getComputedStyle(at).backgroundColor);
    if (alpha > 0) return [r, g, b];
  }
  return [255, 255, 255];
};
const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
for (let text = texts.nextNode(); text; text = texts.nextNode()) {
  const node = text.parentElement;
  if (!text.data.trim() || !isShown(node) || node.closest("option, script, :disabled, .skip")) continue;
  const style = getComputedStyle(node);
  const [lighter, darker] = [luminance(channels(style.color)), luminance(behind(node))].sort((a, b) => b - a);
  const ratio = (lighter + 0.05) / (darker + 0.05);
  const isLarge = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
  if (ratio < (isLarge ? 3 : 4.5)) found.push(`contrast ${ratio.toFixed(2)}: ${text.data.trim().slice(0, 40)}`);
}
return found;
