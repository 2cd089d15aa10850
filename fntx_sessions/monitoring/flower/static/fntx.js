// What makes a page of ours live: changed parts come over one connection and are put in place; ages count by themselves.
(function () {
  "use strict";

  var body = document.body;
  var trouble = document.getElementById("trouble");
  var what = document.getElementById("trouble-what");
  var age = document.getElementById("trouble-age");
  var login = document.getElementById("trouble-login");
  var source = null;
  // What this window has of the streams, while it follows: leave gives its place back; null: it asks now and then.
  var following = null;
  var shownAt = body.dataset.at ? new Date(body.dataset.at) : null;
  var AGAIN_MS = 3000;
  // A browser keeps six connections to a host for all its windows: so many windows hold one, the others ask so often.
  var PLACES = 4, ASK_MS = 2000, PATIENCE_MS = 30000;
  var SILENT = "Flower does not answer; this page asks again by itself.";

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

  function take(text) {
    var news = JSON.parse(text);
    if (news.at) { shownAt = new Date(news.at); }
    put(news.parts);
    say(news.problem, news.over);
    return news;
  }

  // A place among the streams of this browser, from `number` on: `then` is given what gives it back; null: all are held.
  function place(number, then) {
    // Over plain HTTP to another machine there are no locks: each window has a stream there, as far as the browser goes.
    if (!navigator.locks) { then(function () {}); return; }
    if (number === PLACES) { then(null); return; }
    navigator.locks.request("fntx-stream-" + number, { ifAvailable: true }, function (lock) {
      if (!lock) { place(number + 1, then); return null; }
      return new Promise(function (leave) { then(leave); });
    });
  }

  function follow() {
    if (following || document.hidden) { return; }
    var mine = following = { leave: null };
    place(0, function (leave) {
      if (mine !== following) {
        if (leave) { leave(); }
      } else if (leave) {
        mine.leave = leave;
        stream();
      } else {
        ask(mine);
      }
    });
  }

  function stream() {
    source = new EventSource(window.location.href);
    source.onmessage = function (message) {
      // Whoever logs in, here or in another tab, finds this page live again.
      if (take(message.data).over) { again(AGAIN_MS); }
    };
    source.onerror = function () {
      say(SILENT);
      // A browser gives up for good where it was answered with an error.
      if (source && source.readyState === EventSource.CLOSED) { again(AGAIN_MS); }
    };
  }

  // One look, without holding a connection; the next one looks for a place first.
  function ask(mine) {
    var asked = { headers: { Accept: "text/event-stream", "Fntx-Once": "1" }, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) };
    window.fetch(window.location.href, asked).then(function (answer) {
      if (!answer.ok) { throw new Error(answer.status); }
      return answer.text();
    }).then(function (text) {
      if (mine === following) { take(text.replace(/^data: /, "")); }
    }).catch(function () {
      if (mine === following) { say(SILENT); }
    }).then(function () {
      if (mine === following) { again(ASK_MS); }
    });
  }

  function again(after) {
    stop();
    window.setTimeout(follow, after);
  }

  function stop() {
    if (source) { source.close(); }
    if (following && following.leave) { following.leave(); }
    source = following = null;
  }

  // What was kept back is put in place like all else.
  document.addEventListener("fntx:put", function (event) { put(event.detail); });

  login.href += "?next=" + encodeURIComponent(window.location.pathname + window.location.search);
  tellAll();
  window.setInterval(tellAll, 1000);
  if ("live" in body.dataset) {
    // Pages nobody sees leave their place to the others.
    document.addEventListener("visibilitychange", function () {
      if (document.hidden) { stop(); } else { follow(); }
    });
    follow();
  }
}());
