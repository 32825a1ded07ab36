"use strict";
(function () {
  function number(cell) {
    var text = cell.textContent.trim().replace(/−/g, "-").replace(/^</, "");
    var found = /^[+-]?\d+(\.\d+)?(e[+-]?\d+)?/i.exec(text);
    return found ? parseFloat(found[0]) : null;
  }
  function compare(a, b, way) {
    if (a.value === null || b.value === null) { return (a.value === null) - (b.value === null) || a.place - b.place; }
    if (typeof a.value === "string" || typeof b.value === "string") {
      return way * String(a.value).localeCompare(String(b.value), "en") || a.place - b.place;
    }
    return way * (a.value - b.value) || a.place - b.place;
  }
  function sort(table, column, way) {
    var body = table.tBodies[0], keyed = [];
    Array.prototype.forEach.call(body.rows, function (row, place) {
      var cell = row.cells[column], value = column === 0 ? cell.textContent.trim() : number(cell);
      if (value === null && !/^[–-]?$/.test(cell.textContent.trim())) { value = cell.textContent.trim(); }
      keyed.push({ row: row, value: value, place: place });
    });
    keyed.sort(function (a, b) { return compare(a, b, way); });
    keyed.forEach(function (one) { body.appendChild(one.row); });
  }
  document.querySelectorAll("table.sortable").forEach(function (table) {
    var heads = table.tHead.rows[0].cells;
    Array.prototype.forEach.call(heads, function (head, column) {
      var button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", function () {
        var best = head.textContent.indexOf("↑") >= 0 ? "descending" : "ascending";
        var other = best === "ascending" ? "descending" : "ascending";
        var now = head.getAttribute("aria-sort") === best ? other : best;
        Array.prototype.forEach.call(heads, function (one) { one.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", now);
        sort(table, column, now === "ascending" ? 1 : -1);
      });
    });
  });
  var closed = [];
  addEventListener("beforeprint", function () {
    closed = Array.from(document.querySelectorAll("details:not([open])"));
    closed.forEach(function (part) { part.open = true; });
  });
  addEventListener("afterprint", function () { closed.forEach(function (part) { part.open = false; }); });
  var filters = document.getElementById("filters");
  if (filters) {
    var method = document.getElementById("by-method"), carries = document.getElementById("by-carries");
    var references = document.getElementById("by-references"), count = document.getElementById("count");
    var rows = Array.from(document.querySelectorAll("#entries tbody.entries tr"));
    var filter = function () {
      var wanted = method.value.trim().toLowerCase(), shown = 0;
      rows.forEach(function (row) {
        var good = row.dataset.method.toLowerCase().indexOf(wanted) >= 0;
        good = good && (!carries.value || row.dataset.carries === carries.value);
        good = good && (references.checked || !row.classList.contains("reference"));
        row.hidden = !good;
        shown += good;
      });
      count.textContent = shown + " of " + rows.length + " entries";
    };
    [method, carries, references].forEach(function (one) { one.addEventListener("input", filter); });
    filters.hidden = false;
    filter();
  }
  function open() {
    var target = /^#entry-\d+$/.test(location.hash) && document.getElementById(location.hash.slice(1));
    if (target) { target.open = true; target.scrollIntoView(); }
  }
  window.addEventListener("hashchange", open);
  open();
})();
