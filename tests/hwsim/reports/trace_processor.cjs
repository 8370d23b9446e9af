// Perfetto's own trace processor, as its web page runs it: requests come in on standard input, replies go out on standard output.
// Usage: node trace_processor.cjs FOLDER, which has engine_bundle.js and the .wasm files beside it.
"use strict";
const fs = require("fs"), path = require("path"), vm = require("vm");
const folder = process.argv[2], exit = process.exit.bind(process);

// What it expects of a worker of a browser.
globalThis.XMLHttpRequest = class {
  open(method, name) { this.name = path.basename(String(name)); }
  send() {
    const bytes = fs.readFileSync(path.join(folder, this.name));
    this.response = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
    this.status = 200;
  }
};
globalThis.self = globalThis;
globalThis.location = { href: "http://trace-processor/engine_bundle.js" };
globalThis.WorkerGlobalScope = class {};
globalThis.importScripts = () => { throw new Error("no scripts from outside"); };
console.log = console.warn = () => {}; // standard output is for replies
globalThis.process = undefined; // else it takes itself for a program of node

vm.runInThisContext(fs.readFileSync(path.join(folder, "engine_bundle.js"), "utf8"));
const port = {
  postMessage: (bytes) => { for (let at = 0; at < bytes.length;) at += fs.writeSync(1, bytes, at); },
};
globalThis.onmessage({ data: port });
setTimeout(() => {
  try {
    port.onmessage({ data: new Uint8Array(fs.readFileSync(0)) });
  } catch (error) {
    fs.writeSync(2, String(error).slice(0, 2000));
    exit(1);
  }
});
