// The live connection: one stream of server-sent events, opened anew when it is lost.

const FIRST_WAIT = 1; // seconds
const LONGEST_WAIT = 10;

export class Live {
  #source = null;
  #timer = 0;
  #wait = FIRST_WAIT;
  #isLost = false;
  #path;
  #handlers;
  #changed;

  // `handlers`: by name of the event, given its data; `open` is called at every connection, so that
  // what was missed is fetched. `changed(state)` is told {isLost, retryAt (milliseconds)}.
  constructor(path, handlers, changed) {
    this.#path = path;
    this.#handlers = handlers;
    this.#changed = changed;
    this.#connect();
  }

  retry() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#connect();
  }

  close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #connect() {
    const source = new EventSource(this.#path);
    this.#source = source;
    source.addEventListener("open", () => {
      this.#wait = FIRST_WAIT;
      this.#isLost = false;
      this.#changed({ isLost: false });
      this.#handlers.open();
    });
    source.addEventListener("error", () => this.#lost(source));
    for (const [name, handle] of Object.entries(this.#handlers)) {
      if (name === "open") continue;
      source.addEventListener(name, (event) => {
        if (source === this.#source) handle(JSON.parse(event.data));
      });
    }
  }

  // The browser's own retrying stops for good at the first answer that is no stream.
  #lost(source) {
    source.close();
    if (source !== this.#source) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), this.#wait * 1000);
    this.#changed({ isLost: true, retryAt: Date.now() + this.#wait * 1000 });
    this.#isLost = true;
    this.#wait = Math.min(LONGEST_WAIT, this.#wait * 2);
  }

  get isLost() {
    return this.#isLost;
  }
}
