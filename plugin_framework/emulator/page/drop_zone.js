// An input file: dropped or chosen, and uploaded at once, while the form is filled in.

import { upload } from "/page/api.js";
import { button, h, show, text } from "/page/dom.js";
import { bytes } from "/page/format.js";

export class DropZone {
  input = null; // the emulator's id of what is uploaded
  problem = "";
  #stop = null;
  #chosen = h("p", { class: "chosen", role: "status" });
  #bar = h("progress", { max: 1, value: 0, "aria-label": "Upload of the input" });
  #error = h("p", { class: "problem", role: "alert" });
  #remove = button("Remove", () => this.clear(), { class: "small" });

  constructor() {
    this.file = h("input", {
      type: "file",
      class: "unseen",
      id: "input-file",
      on: { change: () => this.file.files[0] && this.take(this.file.files[0]) },
    });
    const label = h("label", { for: "input-file" });
    label.append(h("strong", {}, "Drop a file here"), " or ", h("span", {}, "choose one"));
    const drop = { class: "drop", on: this.#listeners() };
    this.zone = h("div", drop, this.file, label, this.#chosen, this.#bar, this.#remove);
    this.element = h("div", {}, this.zone, this.#error);
    this.clear();
  }

  get isUploading() {
    return this.#stop !== null;
  }

  #listeners() {
    const mark = (isOver) => this.zone.classList.toggle("over", isOver);
    return {
      dragover: () => mark(true),
      dragleave: (event) => mark(this.zone.contains(event.relatedTarget)),
      drop: (event) => {
        mark(false);
        const { files } = event.dataTransfer;
        if (files.length > 1) this.fail("One file, please: a task has one input.");
        else if (files[0]) this.take(files[0]);
      },
    };
  }

  clear() {
    const hadFocus = document.activeElement === this.#remove;
    this.#stop?.abort();
    this.#stop = null;
    this.input = null;
    this.file.value = "";
    text(this.#chosen, "");
    show(this.#remove, false);
    show(this.#bar, false);
    this.fail("");
    if (hadFocus) this.file.focus();
  }

  fail(message) {
    this.problem = message;
    text(this.#error, message);
    show(this.#error, Boolean(message));
  }

  // Resolves when it is uploaded, or cannot be.
  async take(file) {
    this.clear();
    const stop = new AbortController();
    this.#stop = stop;
    show(this.#remove, true);
    show(this.#bar, true);
    this.#bar.value = 0;
    text(this.#chosen, `${file.name}, ${bytes(file.size)}: uploading`);
    try {
      const query = new URLSearchParams({ name: file.name });
      const progress = (share) => (this.#bar.value = share);
      const given = { progress, signal: stop.signal };
      const { input } = await upload(`/local/inputs?${query}`, file, given);
      if (this.#stop !== stop) return;
      this.input = input;
      text(this.#chosen, `${file.name}, ${bytes(file.size)}`);
    } catch (error) {
      if (this.#stop !== stop) return;
      text(this.#chosen, file.name);
      this.fail(`${file.name} is not uploaded: ${error.message}`);
    } finally {
      if (this.#stop === stop) {
        this.#stop = null;
        show(this.#bar, false);
      }
    }
  }
}
