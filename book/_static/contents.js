// A tick on each chapter's card. This browser remembers it, on this page, and nobody else learns of it.
{
  const KEY = "chapters-read";

  const remembered = () => {
    try {
      return new Set(JSON.parse(localStorage.getItem(KEY) ?? "[]"));
    } catch {
      return new Set(); // nothing is kept here, or nothing that can be read
    }
  };

  const remember = (chapter, isRead) => {
    const chapters = remembered();
    if (isRead) chapters.add(chapter);
    else chapters.delete(chapter);
    try {
      localStorage.setItem(KEY, JSON.stringify([...chapters].sort()));
    } catch {
      // the tick lasts as long as the page
    }
  };

  for (const card of document.querySelectorAll(".chapter-card")) {
    const link = card.querySelector("a");
    const chapter = link.pathname.split("/").pop().replace(".html", "");
    const box = Object.assign(document.createElement("input"), { type: "checkbox" });
    box.checked = remembered().has(chapter);
    box.addEventListener("change", () => remember(chapter, box.checked));
    const name = document.createElement("span");
    name.className = "visually-hidden";
    name.append(`: ${link.textContent}`);
    const label = document.createElement("label");
    label.append(box, " Read", name);
    card.append(label);
  }
}
