// The machine that the tutorial's user registers: its commands, typed as the pages say.
"use strict";
const { execFileSync, spawn } = require("node:child_process");
const fs = require("node:fs");

class Node {
  constructor({ slapos, configuration, builder, log }) {
    Object.assign(this, { slapos, configuration, builder, log });
  }

  /** Runs the line that the page of a token shows, for a node of this name. */
  register(line, name, fingerprint) {
    const [program, ...words] = line.replace("NAME", name).split(" ");
    if (program !== "slapos") throw new Error(`what is ${program}? ${line}`);
    const more = ["--unprivileged", "--partition-number", "4", "--fingerprint", fingerprint, "--cfg", this.configuration];
    execFileSync(this.slapos, [...words, ...more], { stdio: ["ignore", "pipe", "pipe"] });
    // The environment of builds is shared with the other tests: making one takes half a minute.
    const text = fs.readFileSync(this.configuration, "utf8");
    const own = `software_min_free_space = 1M\ninstance_min_free_space = 1M\nbuilder_directory = ${this.builder}\n`;
    fs.writeFileSync(this.configuration, text.replace("\n[slapformat]", `${own}\n[slapformat]`));
  }

  /** Starts its daemon; whoever started us ends it. */
  work() {
    const log = fs.openSync(this.log, "a");
    this.agent = spawn(this.slapos, ["node", "agent", "--cfg", this.configuration], { stdio: ["ignore", log, log] });
  }

  stop() {
    this.agent?.kill("SIGTERM");
  }
}

module.exports = { Node };
