// A session's curve: P&L and exposure over time, what happened marked on it, asked for anew where it may have changed.
(function () {
  "use strict";

  var plots = document.querySelector("[data-curve]");
  if (!plots) { return; }
  var readout = document.getElementById("plot-readout");
  var note = document.getElementById("plot-note");
  var table = document.getElementById("plot-marks");
  var net = document.getElementById("plot-net");
  var exposure = document.getElementById("plot-exposure");
  var SIGNS = { transition: "◆", trade: "▲", checkpoint: "■", alert: "!" };
  var AGAIN_MS = 2000, NEAR_PX = 8, LANE_PX = 13, MARKS_TOLD = 3, ROWS_MOST = 200, FEW = 12;
  // reading: the moment somebody reads, in seconds since 1970; null: nobody does.
  var curve = null, drawn = [], reading = null, asked = 0, waiting = null, asking = false, mark = null;

  function color(name) { return getComputedStyle(plots).getPropertyValue(name).trim(); }
  function two(number) { return (number < 10 ? "0" : "") + number; }

  function moment(seconds) {
    return new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ");
  }

  function dollars(value) {
    if (value === null || value === undefined) { return "–"; }
    var text = Math.abs(value).toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
    return (value < 0 ? "−$" : "$") + text;
  }

  // On an axis there is little room: no cents where there is nothing below a dollar between its lines.
  function rounded(value, step) {
    var digits = step < 1 ? 2 : 0;
    var text = Math.abs(value).toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    return (value < 0 ? "−$" : "$") + text;
  }

  function wanted() {
    var kinds = {};
    plots.querySelectorAll(".plot-kinds input").forEach(function (box) { kinds[box.value] = box.checked; });
    return kinds;
  }

  function shown() {
    var kinds = wanted();
    return curve.marks.filter(function (one) { return kinds[one.kind]; });
  }

  function drawMarks(u) {
    var lanes = Object.keys(SIGNS), ratio = window.devicePixelRatio || 1;
    u.ctx.save();
    u.ctx.font = Math.round(11 * ratio) + "px system-ui, sans-serif";
    u.ctx.textAlign = "center";
    shown().forEach(function (one) {
      var x = u.valToPos(one.at, "x", true);
      if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) { return; }
      u.ctx.fillStyle = u.ctx.strokeStyle = color("--mark-" + one.kind);
      u.ctx.globalAlpha = 0.35;
      u.ctx.beginPath();
      u.ctx.moveTo(x, u.bbox.top);
      u.ctx.lineTo(x, u.bbox.top + u.bbox.height);
      u.ctx.stroke();
      u.ctx.globalAlpha = 1;
      if (u.root.parentNode === net) {
        u.ctx.fillText(SIGNS[one.kind], x, u.bbox.top + (lanes.indexOf(one.kind) + 1) * LANE_PX * ratio);
      }
    });
    u.ctx.restore();
  }

  function nearby(u, left) {
    return shown().filter(function (one) { return Math.abs(u.valToPos(one.at, "x") - left) <= NEAR_PX; });
  }

  function read(u) {
    var index = u.cursor.idx;
    var read = index !== null && index !== undefined && curve.times[index] !== undefined;
    reading = read ? curve.times[index] : null;
    if (read) { say(index, nearby(u, u.cursor.left)); } else { newest(); }
  }

  function newest() { say(curve.times.length - 1, []); }

  // The point nearest to a moment.
  function nearest(at) {
    var found = 0;
    curve.times.forEach(function (time, index) {
      if (Math.abs(time - at) < Math.abs(curve.times[found] - at)) { found = index; }
    });
    return found;
  }

  function say(index, marks) {
    var told = marks.slice(0, MARKS_TOLD).map(function (one) { return SIGNS[one.kind] + " " + one.what; });
    if (marks.length > MARKS_TOLD) { told.push("and " + (marks.length - MARKS_TOLD) + " more"); }
    // What nobody asked for is not read out.
    readout.setAttribute("aria-live", reading === null ? "off" : "polite");
    readout.textContent = index < 0 ? " " : moment(curve.times[index]) + "  net " + dollars(curve.net[index]) + ", exposure " +
      dollars(curve.exposure[index]) + (told.length ? "  " + told.join("; ") : "");
  }

  function axes(grid) {
    var ink = color("--bs-body-color");
    var plain = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } };
    var sides = Object.assign({}, plain, {
      size: 84,
      values: function (u, values, axis, space, step) { return values.map(function (one) { return rounded(one, step); }); }
    });
    var below = Object.assign({}, plain, {
      values: function (u, values, axis, space, step) {
        return values.map(function (one, index) {
          var at = new Date(one * 1000), text = two(at.getUTCHours()) + ":" + two(at.getUTCMinutes());
          if (step >= 86400) { return at.toISOString().slice(5, 10); }
          return text + (step < 60 ? ":" + two(at.getUTCSeconds()) : "") +
            (text === "00:00" || !index ? "\n" + at.toISOString().slice(5, 10) : "");
        });
      }
    });
    return [below, sides];
  }

  function plot(element, label, ink, column, stepped) {
    var series = { label: label, stroke: ink, width: 2, spanGaps: false };
    if (stepped) { series.paths = uPlot.paths.stepped({ align: 1 }); series.fill = ink + "22"; }
    var chart = new uPlot({
      width: element.clientWidth, height: element.clientHeight,
      tzDate: function (seconds) { return uPlot.tzDate(new Date(seconds * 1000), "UTC"); },
      legend: { show: false },
      cursor: { sync: { key: "session" }, y: false, drag: { x: true, y: false } },
      scales: { x: { time: true, range: reach } },
      series: [{}, series], axes: axes(color("--bs-border-color")),
      hooks: {
        draw: [drawMarks], setCursor: element === net ? [read] : [],
        setScale: element === net ? [function (u, key) { if (key === "x") { tellStretch(u.scales.x); } }] : []
      }
    }, [curve.times, column], element);
    return chart;
  }

  // A single moment, or none, is shown within an hour around it.
  function reach(u, low, high) {
    if (low === null || low === undefined) { return [Date.now() / 1000 - 3600, Date.now() / 1000]; }
    return high > low ? [low, high] : [low - 1800, low + 1800];
  }

  function tellStretch(stretch) {
    plots.dataset.from = stretch.min;
    plots.dataset.until = stretch.max;
  }

  function columns() { return [[curve.times, curve.net], [curve.times, curve.exposure]]; }

  // The stretch somebody chose; null: all is shown.
  function chosen() {
    if (!drawn.length) { return null; }
    var u = drawn[0], times = u.data[0], x = u.scales.x;
    var all = times.length ? reach(u, times[0], times[times.length - 1]) : [x.min, x.max];
    return x.min === all[0] && x.max === all[1] ? null : { min: x.min, max: x.max };
  }

  function draw() {
    var stretch = chosen(), at = reading;
    drawn.forEach(function (one) { one.destroy(); });
    drawn = [];
    if (!curve) { return; }
    if (!curve.shown) { newest(); return; }
    drawn = [
      plot(net, "Net P&L", color("--plot-net"), curve.net, false),
      plot(exposure, "Exposure", color("--plot-exposure"), curve.exposure, true)
    ];
    if (stretch) { drawn.forEach(function (one) { one.setScale("x", stretch); }); }
    reread(at);
  }

  // What came in is drawn; what somebody chose to see, and the point that is read, stay.
  function fill() {
    if (!drawn.length || !curve.shown) { draw(); return; }
    var stretch = chosen(), at = reading;
    columns().forEach(function (column, index) {
      drawn[index].setData(column, !stretch);
      if (stretch) { drawn[index].redraw(); }
    });
    reread(at);
  }

  function reread(at) {
    // uPlot draws, and knows its scales, a moment later.
    queueMicrotask(function () {
      if (at !== null && drawn.length) { point(nearest(at)); } else { newest(); }
    });
  }

  function point(index) {
    var u = drawn[0];
    u.setCursor({ left: u.valToPos(curve.times[index], "x"), top: 0 });
  }

  function tell() {
    var parts = [];
    if (!curve.shown) {
      parts.push("No sample was taken yet, or its samples left with the archive.");
    } else if (curve.shown < curve.samples) {
      parts.push(curve.samples.toLocaleString("en-US") + " samples, thinned; the lowest and the highest are kept.");
    }
    if (curve.simulated) { parts.push("Its own, simulated clock; what carries the desk's time is placed about where it belongs."); }
    if (curve.left_out.length) { parts.push("Only the newest are marked of: " + curve.left_out.join(", ") + "."); }
    note.textContent = parts.join(" ") || " ";
  }

  function list() {
    var rows = shown().slice(-ROWS_MOST).reverse().map(function (one) {
      var row = document.createElement("tr");
      [moment(one.at), SIGNS[one.kind] + " " + one.kind, one.what].forEach(function (text) {
        var cell = document.createElement("td");
        cell.textContent = text;
        row.append(cell);
      });
      return row;
    });
    table.replaceChildren.apply(table, rows);
  }

  function show() {
    tell();
    list();
    fill();
  }

  // Kinds that may be many are marked where they are few, until somebody chooses.
  function choose() {
    plots.querySelectorAll(".plot-kinds input[data-few]").forEach(function (box) {
      box.checked = curve.marks.filter(function (one) { return one.kind === box.value; }).length <= FEW;
    });
  }

  function ask() {
    if (document.hidden) { return; }
    if (asking) { later(); return; }
    var pause = asked + AGAIN_MS - Date.now();
    window.clearTimeout(waiting);
    if (pause > 0) { waiting = window.setTimeout(ask, pause); return; }
    asking = true;
    asked = Date.now();
    fetch(plots.dataset.curve, { headers: { Accept: "application/json" }, credentials: "same-origin" })
      .then(function (answer) { return answer.ok ? answer.json() : Promise.reject(answer.status); })
      .then(function (found) {
        put(found.curve);
        if (found.problem) { later(); }
      })
      // The banner says what is wrong; what is drawn stays.
      .catch(later)
      .finally(function () { asking = false; });
  }

  function later() {
    window.clearTimeout(waiting);
    waiting = window.setTimeout(ask, AGAIN_MS);
  }

  function put(found) {
    var same = curve && JSON.stringify(curve) === JSON.stringify(found), first = !curve;
    curve = found;
    if (first) { choose(); }
    if (!same) { show(); }
    plots.dataset.samples = String(found.samples);
    plots.dataset.marks = String(found.marks.length);
  }

  function step(event) {
    var by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || !drawn.length) { return; }
    event.preventDefault();
    var x = drawn[0].scales.x, inside = [];
    curve.times.forEach(function (time, index) { if (time >= x.min && time <= x.max) { inside.push(index); } });
    if (!inside.length) { return; }
    var from = inside[0], until = inside[inside.length - 1];
    var at = reading === null ? (by > 0 ? from - 1 : until + 1) : nearest(reading);
    point(Math.min(Math.max(at + by, from), until));
  }

  net.addEventListener("keydown", step);
  plots.addEventListener("change", function () {
    if (curve) { list(); drawn.forEach(function (one) { one.redraw(); }); }
  });
  new ResizeObserver(function () {
    drawn.forEach(function (one, index) {
      var element = index ? exposure : net;
      if (one.width !== element.clientWidth) { one.setSize({ width: element.clientWidth, height: element.clientHeight }); }
    });
  }).observe(plots);
  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
  document.addEventListener("fntx:changed", function () {
    var now = document.getElementById("curve-mark").dataset.mark;
    if (now !== mark) { mark = now; ask(); }
  });
  document.addEventListener("visibilitychange", ask);
  mark = document.getElementById("curve-mark").dataset.mark;
  ask();
}());
