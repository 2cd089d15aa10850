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
