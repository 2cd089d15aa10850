// What makes a page of ours live: changed parts come over one connection and are put in place; ages count by themselves.
(function () {
  "use strict";

  var body = document.body;
  var trouble = document.getElementById("trouble");
  var what = document.getElementById("trouble-what");
  var age = document.getElementById("trouble-age");
  var login = document.getElementById("trouble-login");
  var source = null;
  var shownAt = body.dataset.at ? new Date(body.dataset.at) : null;
  var AGAIN_MS = 3000;

  function count(seconds) {
    if (seconds < 0) { seconds = 0; }
    if (seconds < 120) { return Math.floor(seconds) + " s"; }
    if (seconds < 7200) { return Math.floor(seconds / 60) + " min"; }
    if (seconds < 172800) { return Math.floor(seconds / 3600) + " h"; }
    return Math.floor(seconds / 86400) + " d";
  }

  function tell(element) {
    var seconds = (Date.now() - new Date(element.dateTime).getTime()) / 1000;
    var ahead = seconds < -1;
    var text = count(Math.abs(seconds));
    if (element.className === "ago") { text = ahead ? "in " + text : text + " ago"; }
    if (element.textContent !== text) {
      element.textContent = text;
      element.title = element.dateTime;
    }
  }

  function tellAll() {
    document.querySelectorAll("time.ago, time.since").forEach(tell);
  }

  // loggedOut: the way back in is shown too, which leads here again.
  function say(problem, loggedOut) {
    trouble.hidden = !problem;
    login.hidden = !loggedOut;
    if (!problem) { return; }
    // Said again it would be read aloud again.
    if (what.textContent !== problem) { what.textContent = problem; }
    age.textContent = "";
    if (shownAt) {
      age.append("Shown as it was ");
      var time = document.createElement("time");
      time.className = "ago";
      time.dateTime = shownAt.toISOString();
      age.append(time, ".");
      tell(time);
    }
  }

  // What somebody has opened stays open.
  var KEPT = { beforeAttributeUpdated: function (name, element) { return !(name === "open" && element.tagName === "DETAILS"); } };

  function put(parts) {
    Object.keys(parts).forEach(function (id) {
      var element = document.getElementById(id);
      var arriving = new CustomEvent("fntx:arriving", { cancelable: true, detail: { id: id, html: parts[id] } });
      // A page's own script may keep back what would move under somebody's hand.
      if (document.dispatchEvent(arriving) && element) {
        Idiomorph.morph(element, parts[id], { morphStyle: "outerHTML", ignoreActiveValue: true, callbacks: KEPT });
      }
    });
    if (Object.keys(parts).length) {
      tellAll();
      document.dispatchEvent(new CustomEvent("fntx:changed", { detail: Object.keys(parts) }));
    }
  }

  function follow() {
    if (source || document.hidden) { return; }
    source = new EventSource(window.location.href);
    source.onmessage = function (message) {
      var news = JSON.parse(message.data);
      if (news.at) { shownAt = new Date(news.at); }
      put(news.parts);
      say(news.problem, news.over);
      // Whoever logs in, here or in another tab, finds this page live again.
      if (news.over) { again(); }
    };
    source.onerror = function () {
      say("Flower does not answer; this page asks again by itself.");
      // A browser gives up for good where it was answered with an error.
      if (source && source.readyState === EventSource.CLOSED) { again(); }
    };
  }

  function again() {
    stop();
    window.setTimeout(follow, AGAIN_MS);
  }

  function stop() {
    if (source) { source.close(); }
    source = null;
  }

  // What was kept back is put in place like all else.
  document.addEventListener("fntx:put", function (event) { put(event.detail); });

  login.href += "?next=" + encodeURIComponent(window.location.pathname + window.location.search);
  tellAll();
  window.setInterval(tellAll, 1000);
  if ("live" in body.dataset) {
    // A browser keeps six connections to a host: pages nobody sees leave theirs to the others.
    document.addEventListener("visibilitychange", function () {
      if (document.hidden) { stop(); } else { follow(); }
    });
    follow();
  }
}());
