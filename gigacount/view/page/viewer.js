"use strict";
// The viewer: OpenSeadragon shows tiles of the image, the density and what is no ground; a canvas over it shows what
// is drawn: windows, heads, regions. All positions are full-resolution pixels. The server keeps everything.

const COLOURS = { head: "#ffdc28", added: "#3cff8c", removed: "#ff5a46", window: "#5adcff", regions: "#78ff78", exclude: "#ff8cc8", audit: "#ffdc28" };
const NEAR = 14; // screen pixels within which a head is meant
const LAYERS = [
  ["image", "Image", 1], ["density", "Density", 0.7], ["heads", "Heads", 1],
  ["windows", "Windows looked at", 0.8], ["regions", "Regions and zones", 1], ["ground", "No data", 0.6],
];

const element = (id) => document.getElementById(id);
const number = (value) => Math.round(value).toLocaleString("en");

const state = {
  about: null, viewer: null, mode: null, layers: {}, tiles: new Map(), // heads by tile
  drawings: { regions: [], exclude: [], corrections: [] }, undo: [], outline: [], drag: null, audit: null, marks: [],
};

async function ask(path, sent) {
  const how = sent === undefined ? {} : { method: "POST", body: JSON.stringify(sent) };
  let answer;
  try { answer = await fetch(path, how); } catch (error) { throw new Error("the viewer has ended; start gigacount view again"); }
  const content = await answer.json().catch(() => ({ error: answer.statusText }));
  if (!answer.ok) throw new Error(content.error || answer.statusText);
  return content;
}

function say(text, wrong = false) {
  element("said").textContent = text;
  element("said").classList.toggle("error", wrong);
}

const trying = (work) => (...values) => Promise.resolve().then(() => work(...values)).catch((error) => say(error.message, true));

// ---- start

async function start() {
  const about = state.about = await ask("about");
  document.title = `${about.name} - gigacount`;
  element("name").textContent = about.name;
  const [width, height] = about.size;
  const source = (layer) => ({
    width, height, tileSize: about.tile, minLevel: Math.max(about.levels - Math.ceil(Math.log2(Math.max(width, height) / about.tile)), 0),
    maxLevel: about.levels, getTileUrl: (level, x, y) => `tile/${layer}/${level}/${x}/${y}`,
  });
  const viewer = state.viewer = OpenSeadragon({
    element: element("view"), tileSources: [source("image")], showNavigationControl: false, showNavigator: false,
    drawer: "canvas", maxZoomPixelRatio: 16, visibilityRatio: 0.5, animationTime: 0.4, imageLoaderLimit: 4, maxImageCacheCount: 300,
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true }, gestureSettingsTouch: { dblClickToZoom: true },
    timeout: 120000, crossOriginPolicy: false,
  });
  const canvas = state.canvas = document.createElement("canvas");
  canvas.className = "drawn";
  element("view").append(canvas);
  makeLayers();
  viewer.addHandler("open", trying(async () => {
    for (const layer of ["density", "ground"]) if (state.layers[layer].there) viewer.addTiledImage({ tileSource: source(layer), opacity: opacity(layer), success: (made) => { state.layers[layer].image = made.item; fade(layer); } });
    state.image = viewer.world.getItemAt(0);
    redraw();
    for (const kind of Object.keys(state.drawings)) state.drawings[kind] = await ask(`drawing/${kind}`);
    showTotal();
    redraw();
    if (about.changed) say("The image has changed since it was counted: the layers are of another one.", true);
  }));
  for (const event of ["update-viewport", "resize"]) viewer.addHandler(event, redraw);
  viewer.addHandler("animation-finish", trying(countHere));
  viewer.addHandler("canvas-click", (event) => { if (event.quick && state.mode) { event.preventDefaultAction = true; trying(tapped)(at(event.position)); } });
  viewer.addHandler("canvas-double-click", (event) => { if (state.mode) event.preventDefaultAction = true; });
  viewer.addHandler("canvas-press", (event) => { state.drag = state.mode === "heads" ? nearest(at(event.position)) : null; });
  viewer.addHandler("canvas-drag", (event) => { if (state.drag) { event.preventDefaultAction = true; state.drag.to = at(event.position); redraw(); } });
  viewer.addHandler("canvas-drag-end", trying(moved));
  viewer.addHandler("open-failed", () => say("The image cannot be read.", true));
  viewer.addHandler("tile-load-failed", (event) => { if (event.message && !/abort/i.test(event.message)) say("Part of the image cannot be read.", true); });
}

function makeLayers() {
  const about = state.about;
  const there = { image: true, density: about.legend !== null, heads: true, windows: about.windows.length > 0, regions: true, ground: true };
  LAYERS.forEach(([layer, title, full], index) => {
    state.layers[layer] = { there: there[layer], on: there[layer] && !["windows", "ground"].includes(layer), opacity: full };
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: state.layers[layer].on, disabled: !there[layer], id: `layer-${layer}` });
    const slide = Object.assign(document.createElement("input"), { type: "range", min: 0, max: 1, step: 0.05, value: full, disabled: !there[layer], ariaLabel: `how strong: ${title}` });
    box.addEventListener("change", () => { state.layers[layer].on = box.checked; fade(layer); });
    slide.addEventListener("input", () => { state.layers[layer].opacity = Number(slide.value); fade(layer); });
    label.append(box, `${index + 1} ${title}`, slide);
    element("layers").append(label);
  });
  if (about.legend) {
    element("legend").hidden = false;
    element("bar").style.background = `linear-gradient(90deg, ${about.colours.join(",")})`;
    element("scale").textContent = `0 to ${about.legend}`;
  }
  if (window.innerWidth < 640) element("panel").classList.add("closed");
  if (!about.audit) document.querySelector("[data-mode=audit]").disabled = true;
}

const opacity = (layer) => (state.layers[layer].on && !(state.mode === "audit" && layer !== "image" && layer !== "regions") ? state.layers[layer].opacity : 0);

function fade(layer) {
  const image = layer === "image" ? state.image : state.layers[layer].image;
  if (image) image.setOpacity(opacity(layer));
  redraw();
}

// ---- places

function affine() { // screen = at + scale * pixel
  const a = state.image.imageToViewerElementCoordinates(new OpenSeadragon.Point(0, 0));
  const b = state.image.imageToViewerElementCoordinates(new OpenSeadragon.Point(1000, 1000));
  return { x: a.x, y: a.y, scale: (b.x - a.x) / 1000 };
}

function at(position) {
  const { x, y, scale } = affine();
  return [(position.x - x) / scale, (position.y - y) / scale];
}

function seen() { // left, top, right, bottom of the image that is in view
  const { x, y, scale } = affine();
  const [width, height] = state.about.size;
  const box = element("view").getBoundingClientRect();
  return [Math.max(-x / scale, 0), Math.max(-y / scale, 0), Math.min((box.width - x) / scale, width), Math.min((box.height - y) / scale, height)];
}

const inImage = ([x, y]) => x >= 0 && y >= 0 && x < state.about.size[0] && y < state.about.size[1];
const key = ([x, y]) => `${Math.round(x * 100)},${Math.round(y * 100)}`;
const of = (kind) => state.drawings.corrections.filter((one) => one.properties.correction === kind);

function gone() {
  return new Set([...of("removed").map((one) => key(one.geometry.coordinates)), ...of("moved").map((one) => key(one.properties.from))]);
}

function fresh() { // heads that a person placed, with what placed them
  const taken = gone();
  return [...of("added"), ...of("moved")].filter((one) => !taken.has(key(one.geometry.coordinates)));
}

// ---- heads, by tile

function visibleTiles() {
  const { scale } = affine();
  const { tile, levels } = state.about;
  // Tiles of about half a screen: a level coarser than the image's.
  const level = Math.min(Math.max(Math.floor(levels + Math.log2(Math.max(scale, 1e-9)) - 1), 0), levels);
  const side = tile * 2 ** (levels - level);
  const [left, top, right, bottom] = seen();
  const found = [];
  for (let y = Math.floor(top / side); y * side < bottom; y++) for (let x = Math.floor(left / side); x * side < right; x++) found.push(`${level}/${x}/${y}`);
  return found;
}

function headsHere() {
  const found = [];
  if (state.about.heads === null) return found;
  for (const name of visibleTiles()) {
    const kept = state.tiles.get(name);
    if (kept === undefined) {
      state.tiles.set(name, null);
      if (state.tiles.size > 400) state.tiles.delete(state.tiles.keys().next().value);
      ask(`heads/${name}`).then((tile) => { state.tiles.set(name, tile); redraw(); }, () => state.tiles.delete(name));
    } else if (kept) for (const head of kept.heads) found.push(head);
  }
  return found;
}

function nearest(place) {
  const { scale } = affine();
  const taken = gone();
  const heads = [...fresh().map((one) => ({ place: one.geometry.coordinates, feature: one })), ...headsHere().filter((head) => !taken.has(key(head))).map((head) => ({ place: head.slice(0, 2), feature: null }))];
  let best = null, reach = NEAR / scale;
  for (const head of heads) {
    const far = Math.hypot(head.place[0] - place[0], head.place[1] - place[1]);
    if (far < reach) { best = head; reach = far; }
  }
  return best;
}

// ---- changes

async function change(kind, add, remove = [], undoing = false) {
  const before = state.drawings[kind];
  for (const one of add) one.id = one.id || Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  state.drawings[kind] = await ask(`drawing/${kind}`, { add, remove });
  if (!undoing) state.undo.push({ kind, remove: add.map((one) => one.id), add: before.filter((one) => remove.includes(one.id)) });
  showTotal();
  redraw();
  await countHere();
}

async function undo() {
  if (state.mode === "audit" && state.marks.length) { state.marks.pop(); return redraw(); }
  if (state.outline.length) { state.outline.pop(); return redraw(); }
  const last = state.undo.pop();
  if (!last) return say("Nothing to undo.");
  try { await change(last.kind, last.add, last.remove, true); } catch (error) { state.undo.push(last); throw error; }
  say("Undone.");
}

const point = (place, properties) => ({ type: "Feature", geometry: { type: "Point", coordinates: place.map((value) => Math.round(value * 100) / 100) }, properties });

async function tapped(place) {
  if (state.mode === "heads") {
    const head = nearest(place);
    if (head && head.feature && head.feature.properties.correction === "added") await change("corrections", [], [head.feature.id]);
    else if (head && head.feature) await change("corrections", [point(head.feature.properties.from, { correction: "removed" })], [head.feature.id]);
    else if (head) await change("corrections", [point(head.place, { correction: "removed" })]);
    else if (inImage(place)) await change("corrections", [point(place, { correction: "added" })]);
    say(`${of("added").length} added, ${of("removed").length} removed, ${of("moved").length} moved; saved`);
  } else if (state.mode === "audit") {
    const { scale } = affine();
    const near = state.marks.findIndex((mark) => Math.hypot(mark[0] - place[0], mark[1] - place[1]) < NEAR / scale);
    const [left, top, width, height] = state.audit.window;
    if (near >= 0) state.marks.splice(near, 1);
    else if (place[0] >= left && place[1] >= top && place[0] < left + width && place[1] < top + height) state.marks.push(place);
    sayAudit();
    redraw();
  } else if (state.mode) {
    state.outline.push([Math.min(Math.max(place[0], 0), state.about.size[0]), Math.min(Math.max(place[1], 0), state.about.size[1])]);
    say(`${state.outline.length} corners; Done or Enter closes the outline, U takes the last one back`);
    redraw();
  }
}

async function moved(event) {
  const drag = state.drag;
  state.drag = null;
  if (!drag || !drag.to) return;
  event.preventDefaultAction = true;
  if (!inImage(drag.to)) return redraw();
  const feature = drag.feature;
  if (feature && feature.properties.correction === "added") await change("corrections", [point(drag.to, { correction: "added" })], [feature.id]);
  else await change("corrections", [point(drag.to, { correction: "moved", from: feature ? feature.properties.from : drag.place })], feature ? [feature.id] : []);
  say("Moved; saved");
}

async function done() {
  if (state.mode === "audit") {
    state.audit = await ask("audit", { patch: state.audit.patch, heads: state.marks });
    return showPatch();
  }
  if (state.outline.length < 3) return say("An outline needs three corners at least.", true);
  const kind = state.mode === "zone" ? "exclude" : "regions";
  const name = window.prompt("Name", `${state.mode} ${state.drawings[kind].length + 1}`);
  if (name === null) return;
  const ring = state.outline.map((place) => place.map((value) => Math.round(value * 100) / 100));
  const feature = { type: "Feature", geometry: { type: "Polygon", coordinates: [[...ring, ring[0]]] }, properties: { name } };
  const found = await ask("count", feature);
  await change(kind, [feature]);
  state.outline = [];
  say(`${name}: ${countText(found)}; saved as ${state.about.name}.${kind}.geojson`);
  redraw();
}

async function checked() {
  const [left, top, right, bottom] = seen();
  const ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]];
  await change("corrections", [{ type: "Feature", geometry: { type: "Polygon", coordinates: [ring] }, properties: { correction: "checked" } }]);
  say("Every head in this view is marked: kept for gigacount train --data corrections:FOLDER");
}

// ---- audit

async function showPatch() {
  state.marks = [];
  if (!state.audit.window) { say(`All ${state.audit.patches} patches are counted. ${state.audit.said}`); return setMode(null); }
  const [left, top, width, height] = state.audit.window;
  const margin = 0.08 * Math.max(width, height);
  state.viewer.viewport.fitBounds(state.image.imageToViewportRectangle(left - margin, top - margin, width + 2 * margin, height + 2 * margin));
  sayAudit();
  redraw();
}

function sayAudit() {
  say(`Patch ${state.audit.patch}: ${state.marks.length} heads marked. Tap every head whose middle is in the frame, then Done. So far: ${state.audit.said}`);
}

// ---- what is said

function countText(found) {
  const parts = [];
  if (found.people !== null) parts.push(`${number(found.people)} people`);
  if (state.about.heads !== null) parts.push(`${number(found.heads)} heads`);
  if (found.corrected !== null && Math.abs(found.corrected - found.people) >= 0.5) parts.push(`${number(found.corrected)} corrected`);
  else if (found.corrected === null && found.corrected_heads) parts.push(`${number(found.corrected_heads)} marked`);
  return parts.join(", ") || "nobody counted";
}

function showTotal() {
  const about = state.about;
  const difference = of("added").length - of("removed").length;
  let text = about.count === null ? (difference ? `${number(difference)} marked` : "not counted") : `${number(about.count)} people`;
  if (about.range) text += ` (${about.range})`;
  if (about.count !== null && state.drawings.corrections.length) text += `, corrected ${number(about.count + difference)}`;
  element("total").textContent = text;
}

let counting = 0;
async function countHere() {
  const turn = ++counting;
  const [left, top, right, bottom] = seen();
  if (state.mode === "audit") { element("here").textContent = ""; return; }
  if (right <= left || bottom <= top) { element("here").textContent = "in view: nothing"; return; }
  const found = await ask(`count?left=${left}&top=${top}&right=${right}&bottom=${bottom}`);
  if (turn === counting) element("here").textContent = `in view: ${countText(found)}`;
}

// ---- drawing

let waiting = false;
function redraw() {
  if (waiting || !state.image) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}

function draw() {
  const canvas = state.canvas, box = element("view").getBoundingClientRect(), dense = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(box.width * dense) || canvas.height !== Math.round(box.height * dense)) {
    canvas.width = Math.round(box.width * dense);
    canvas.height = Math.round(box.height * dense);
  }
  const pen = canvas.getContext("2d"), { x, y, scale } = affine();
  pen.setTransform(dense, 0, 0, dense, 0, 0);
  pen.clearRect(0, 0, box.width, box.height);
  const screen = ([px, py]) => [x + px * scale, y + py * scale];
  const dot = (place, colour, radius) => {
    const [sx, sy] = screen(place);
    pen.beginPath();
    pen.arc(sx, sy, radius, 0, 7);
    pen.fillStyle = colour;
    pen.fill();
    pen.stroke();
  };
  const outline = (ring, colour, close = true) => {
    pen.beginPath();
    ring.forEach((place, index) => pen[index ? "lineTo" : "moveTo"](...screen(place)));
    if (close) pen.closePath();
    pen.strokeStyle = colour;
    pen.stroke();
  };
  const label = (text, place) => {
    const [sx, sy] = screen(place);
    pen.font = "13px system-ui, sans-serif";
    const wide = pen.measureText(text).width;
    pen.fillStyle = "#000b";
    pen.fillRect(sx - 4, sy - 15, wide + 8, 20);
    pen.fillStyle = "#fff";
    pen.fillText(text, sx, sy);
  };

  pen.lineWidth = 1.5;
  pen.globalAlpha = opacity("windows");
  if (pen.globalAlpha) for (const [left, top, width, height] of state.about.windows) {
    const [sx, sy] = screen([left, top]);
    pen.strokeStyle = COLOURS.window;
    pen.strokeRect(sx, sy, width * scale, height * scale);
  }
  pen.globalAlpha = opacity("regions");
  pen.lineWidth = 2.5;
  if (pen.globalAlpha) for (const kind of ["regions", "exclude"]) for (const feature of state.drawings[kind]) {
    const shape = feature.geometry, parts = shape.type === "Polygon" ? [shape.coordinates] : shape.coordinates;
    for (const part of parts) for (const ring of part) outline(ring, COLOURS[kind]);
    label(feature.properties.name || kind, parts[0][0][0]);
  }
  if (pen.globalAlpha && state.mode !== "audit") for (const area of of("checked")) outline(area.geometry.coordinates[0], COLOURS.added);
  pen.globalAlpha = opacity("heads");
  if (pen.globalAlpha) {
    const taken = gone(), radius = Math.min(Math.max(scale * 5, 1.5), 6), heads = headsHere().filter((head) => !taken.has(key(head)));
    pen.lineWidth = 1;
    pen.strokeStyle = "#281400";
    for (const head of heads) dot(head, COLOURS.head, radius);
    pen.font = "11px system-ui, sans-serif";
    pen.lineWidth = 3;
    if (heads.length <= 300 && scale > 0.5) for (const head of heads) { // from close by, how sure the machine is of each
      const [sx, sy] = screen(head);
      pen.strokeText(head[2].toFixed(2), sx + radius + 2, sy - radius);
      pen.fillStyle = "#fff";
      pen.fillText(head[2].toFixed(2), sx + radius + 2, sy - radius);
    }
    pen.lineWidth = 1;
    for (const one of of("removed")) dot(one.geometry.coordinates, COLOURS.removed, Math.max(radius - 1, 2));
    for (const one of fresh()) dot(one.geometry.coordinates, COLOURS.added, radius + 1);
    if (state.drag && state.drag.to) dot(state.drag.to, COLOURS.added, radius + 2);
  }
  pen.globalAlpha = 1;
  if (state.outline.length) {
    pen.lineWidth = 2.5;
    outline(state.outline, state.mode === "zone" ? COLOURS.exclude : COLOURS.regions, state.outline.length > 2);
    pen.strokeStyle = "#000";
    for (const corner of state.outline) dot(corner, "#fff", 4);
  }
  if (state.mode === "audit" && state.audit && state.audit.window) {
    const [left, top, width, height] = state.audit.window, [sx, sy] = screen([left, top]);
    pen.fillStyle = "#0009";
    pen.beginPath();
    pen.rect(0, 0, box.width, box.height);
    pen.rect(sx, sy, width * scale, height * scale);
    pen.fill("evenodd");
    pen.strokeStyle = COLOURS.audit;
    pen.lineWidth = 2;
    pen.strokeRect(sx - 1, sy - 1, width * scale + 2, height * scale + 2);
    pen.strokeStyle = "#000";
    for (const mark of state.marks) dot(mark, COLOURS.added, 6);
  }
}

// ---- tools

async function setMode(mode) {
  state.mode = state.mode === mode ? null : mode;
  state.outline = [];
  state.marks = [];
  element("view").classList.toggle("editing", state.mode !== null);
  for (const button of document.querySelectorAll("[data-mode]")) button.setAttribute("aria-pressed", String(button.dataset.mode === state.mode));
  document.body.classList.toggle("auditing", state.mode === "audit");
  element("done").hidden = !["region", "zone", "audit"].includes(state.mode);
  for (const [layer] of LAYERS) fade(layer);
  if (state.mode === "audit") { state.audit = await ask("audit"); await showPatch(); }
  else { say({ heads: "Tap to add a head, tap a head to remove it, drag it to move it.", region: "Tap the corners of the region.", zone: "Tap the corners of the zone that does not count." }[state.mode] || ""); await countHere(); }
}

for (const button of document.querySelectorAll("[data-mode]")) button.addEventListener("click", trying(() => setMode(button.dataset.mode)));
element("undo").addEventListener("click", trying(undo));
element("done").addEventListener("click", trying(done));
element("check").addEventListener("click", trying(checked));
element("menu").addEventListener("click", () => { const closed = element("panel").classList.toggle("closed"); element("menu").setAttribute("aria-expanded", String(!closed)); });

const KEYS = { h: () => setMode("heads"), r: () => setMode("region"), x: () => setMode("zone"), a: () => state.about.audit && setMode("audit"), c: checked, u: undo, Escape: () => setMode(null), Enter: () => element("done").hidden || done() };
document.addEventListener("keydown", (event) => {
  if (event.target.tagName === "INPUT" || event.altKey) return;
  if ((event.ctrlKey || event.metaKey) && event.key === "z") { event.preventDefault(); trying(undo)(); return; }
  if (event.ctrlKey || event.metaKey) return;
  const box = /^[1-6]$/.test(event.key) ? element(`layer-${LAYERS[Number(event.key) - 1][0]}`) : null;
  if (box && !box.disabled) box.click();
  else if (KEYS[event.key] && !(event.key === "Enter" && event.target.tagName === "BUTTON")) { event.stopPropagation(); trying(KEYS[event.key])(); }
}, true);

trying(start)();
