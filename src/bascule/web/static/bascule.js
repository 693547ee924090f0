// What a page can do beyond being read. Nothing here is needed to read or to use a page.
(() => {
  "use strict";
  document.documentElement.classList.add("js");

  const ready = (root) => {
    for (const form of root.querySelectorAll("form[data-autosubmit]")) {
      for (const select of form.querySelectorAll("select")) {
        select.addEventListener("change", () => form.requestSubmit());
      }
    }
    if (!navigator.clipboard) return;
    for (const block of root.querySelectorAll(".cli:not(:has(button))")) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "Copy";
      button.setAttribute("aria-label", `Copy the command ${block.querySelector("code").textContent}`);
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(block.querySelector("code").textContent);
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      });
      block.append(button);
    }
  };

  document.addEventListener("DOMContentLoaded", () => {
    ready(document);
    const current = document.querySelector(".side a[aria-current]");
    const strip = document.querySelector(".side");
    if (current && strip.scrollWidth > strip.clientWidth) {
      strip.scrollLeft = current.offsetLeft - (strip.clientWidth - current.offsetWidth) / 2;
    }
  });
  document.addEventListener("htmx:after:swap", (event) => ready(event.target));

  // Parts that change by themselves are fetched again, but not while somebody reads or uses them.
  setInterval(() => {
    if (document.hidden) return;
    for (const part of document.querySelectorAll("[data-refresh]")) {
      if (part.querySelector("details[open]") || part.contains(document.activeElement)) continue;
      part.dispatchEvent(new CustomEvent("refresh"));
    }
  }, 5000);

  // "/" goes to the search field, as in many tools; not while typing. Escape leaves a question unanswered.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.isComposing) {
      const way = document.querySelector("a[data-escape]");
      if (way) { event.preventDefault(); way.click(); }
      return;
    }
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, textarea, select")) return;
    const field = document.getElementById("jump");
    if (field) { event.preventDefault(); field.focus(); }
  });
})();
