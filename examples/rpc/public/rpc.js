// JSON-RPC 2.0, both ways over one WebSocket.

export class RpcError extends Error {
  constructor({ code, message, data }) {
    super(message);
    Object.assign(this, { code, data });
  }
}

export class Peer {
  #socket;
  #methods;
  #waiting = new Map();
  #last = 0;

  /** methods: a Map of functions by name, which may be async. */
  constructor(socket, methods = new Map()) {
    this.#socket = socket;
    this.#methods = methods;
    socket.addEventListener("message", ({ data }) => this.#take(JSON.parse(data)));
    socket.addEventListener("close", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error("the connection is over"));
      this.#waiting.clear();
    });
  }

  /** The result of a method of the server; rejects with an RpcError. */
  call(method, params) {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      if (this.#socket.readyState !== WebSocket.OPEN) throw new Error("the connection is not open");
      this.#waiting.set(id, { resolve, reject });
      this.#send({ method, params, id });
    });
  }

  notify(method, params) {
    this.#send({ method, params });
  }

  #send(message) {
    this.#socket.send(JSON.stringify({ jsonrpc: "2.0", ...message }));
  }

  async #take(message) {
    if ("method" in message) return this.#obey(message);
    const call = this.#waiting.get(message.id);
    if (!call) return;
    this.#waiting.delete(message.id);
    if (message.error) call.reject(new RpcError(message.error));
    else call.resolve(message.result);
  }

  async #obey({ method, params = [], id }) {
    const answer = {};
    const run = this.#methods.get(method);
    try {
      if (!run) answer.error = { code: -32601, message: "Method not found" };
      else answer.result = await run(params) ?? null;
    } catch (error) {
      console.error(error);
      answer.error = { code: -32603, message: "Internal error" };
    }
    if (id !== undefined) this.#send({ ...answer, id });
  }
}
