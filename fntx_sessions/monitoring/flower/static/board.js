// Saved links: views of the board with a name, kept in this browser. Each is a plain address that can be sent to others.
(function () {
  "use strict";

  var KEY = "fntx.board.links";
  var region = document.getElementById("board-saved");
  var list = document.getElementById("board-saved-list");
  var form = document.getElementById("board-save");
  var field = document.getElementById("board-save-name");
  var told = document.getElementById("board-save-told");
  var MOST = 50;

  function isLink(one) {
    return one && typeof one.name === "string" && typeof one.query === "string" && /^(\?.*)?$/.test(one.query);
  }

  function kept() {
    try {
      var found = JSON.parse(window.localStorage.getItem(KEY) || "[]");
      return Array.isArray(found) ? found.filter(isLink) : [];
    } catch (error) {
      return [];
    }
  }

  function keep(links, words) {
    try {
      window.localStorage.setItem(KEY, JSON.stringify(links.slice(-MOST)));
      told.textContent = words;
    } catch (error) {
      told.textContent = "This browser keeps nothing: bookmark the page instead.";
    }
    show();
  }

  function entry(one) {
    var item = document.createElement("li");
    var anchor = document.createElement("a");
    anchor.href = window.location.pathname + one.query;
    anchor.textContent = one.name;
    if (one.query === window.location.search) { anchor.setAttribute("aria-current", "true"); }
    anchor.className = "chip";
    var forget = document.createElement("button");
    forget.type = "button";
    forget.className = "btn btn-sm";
    forget.textContent = "×";
    forget.setAttribute("aria-label", "Forget " + one.name);
    forget.addEventListener("click", function () {
      keep(kept().filter(function (other) { return other.name !== one.name; }), one.name + " is forgotten.");
      field.focus();
    });
    item.append(anchor, forget);
    return item;
  }

  function show() {
    list.replaceChildren.apply(list, kept().map(entry));
  }

  form.addEventListener("submit", function (event) {
    event.preventDefault();
    var name = field.value.trim();
    if (!name) { return; }
    var others = kept().filter(function (one) { return one.name !== name; });
    keep(others.concat([{ name: name, query: window.location.search }]), name + " is kept in this browser.");
    field.value = "";
  });

  show();
  region.classList.add("ready");
}());

// The order of the rows, while somebody is among them: rows change where they stand, and which rows there are waits.
(function () {
  "use strict";

  var region = document.getElementById("board");
  var told = document.getElementById("board-held");
  var show = document.getElementById("board-held-show");
  // So long after the last movement or key somebody is still at it.
  var AT_IT_MS = 15000;
  // The rows as they are to be; null: as they are.
  var held = null, until = 0, timer = null, putting = false;

  function parsed(html) {
    var template = document.createElement("template");
    template.innerHTML = html;
    return template.content.firstElementChild;
  }

  function ids(body) { return Array.from(body.children).map(function (row) { return row.id; }).join(" "); }

  function put(parts) {
    putting = true;
    document.dispatchEvent(new CustomEvent("fntx:put", { detail: parts }));
    putting = false;
  }

  function release() {
    window.clearTimeout(timer);
    until = 0;
    var body = held;
    hold(null);
    if (body) { put({ "board-rows": body.outerHTML }); }
  }

  function hold(body) {
    held = body;
    told.classList.toggle("waits", Boolean(body));
    if (!body) { return; }
    var here = document.getElementById("board-rows");
    var fresh = Array.from(body.children).filter(function (row) { return !document.getElementById(row.id); }).length;
    var gone = Array.from(here.children).filter(function (row) { return !body.querySelector("#" + CSS.escape(row.id)); }).length;
    var words = [fresh ? fresh + " new" : "", gone ? gone + " gone" : ""].filter(Boolean).join(", ");
    told.firstElementChild.textContent = "Rows wait while you are among them: " + (words || "another order") + ".";
  }

  function stay() {
    until = Date.now() + AT_IT_MS;
    window.clearTimeout(timer);
    timer = window.setTimeout(release, AT_IT_MS);
  }

  // All rows came, as which there are or their order is another one: each that stands already changes in its place.
  function keep(body) {
    var parts = {};
    Array.from(body.children).forEach(function (row) {
      if (document.getElementById(row.id)) { parts[row.id] = row.outerHTML; }
    });
    hold(body);
    put(parts);
  }

  document.addEventListener("fntx:arriving", function (event) {
    if (putting) { return; }
    var found = parsed(event.detail.html);
    if (event.detail.id !== "board-rows") {
      var kept = held && held.querySelector("#" + CSS.escape(event.detail.id));
      if (kept) { kept.replaceWith(found); }
    } else if (Date.now() < until && ids(found) !== ids(document.getElementById("board-rows"))) {
      event.preventDefault();
      keep(found);
    } else {
      hold(null);
    }
  });
  ["pointermove", "pointerdown", "keydown", "focusin"].forEach(function (name) { region.addEventListener(name, stay); });
  region.addEventListener("pointerleave", release);
  region.addEventListener("focusout", function (event) { if (!region.contains(event.relatedTarget)) { release(); } });
  show.addEventListener("click", release);
}());
