// The machine that the tutorial's user registers: its commands, typed as the pages say.
"use strict";
const { execFileSync, spawn, spawnSync } = require("node:child_process");
const fs = require("node:fs");

class Node {
  constructor(settings, name) {
    const { slapos, builder, directory } = settings;
    Object.assign(this, { slapos, builder, name });
    this.directory = `${directory}/${name}`;
    this.configuration = `${this.directory}/slapos.cfg`;
  }

  /** Runs the line that the page of a token shows, in which NAME stands for ours. */
  register(line, fingerprint) {
    const [program, ...words] = line.replace("NAME", this.name).split(" ");
    if (program !== "slapos") throw new Error(`what is ${program}? ${line}`);
    const more = ["--unprivileged", "--partition-number", "6", "--fingerprint", fingerprint, "--cfg", this.configuration];
    execFileSync(this.slapos, [...words, ...more], { stdio: ["ignore", "pipe", "pipe"] });
    // The environment of builds is shared with the other tests: making one takes half a minute.
    const text = fs.readFileSync(this.configuration, "utf8");
    const own = `software_min_free_space = 1M\ninstance_min_free_space = 1M\nbuilder_directory = ${this.builder}\n`;
    fs.writeFileSync(this.configuration, text.replace("\n[slapformat]", `${own}\n[slapformat]`));
  }

  /** Starts its daemon; whoever started us ends it. */
  work() {
    const log = fs.openSync(`${this.directory}/agent.log`, "a");
    this.agent = spawn(this.slapos, ["node", "agent", "--cfg", this.configuration], { stdio: ["ignore", log, log] });
  }

  /** Ends the daemon, and what it runs. */
  stop() {
    this.agent?.kill("SIGTERM");
    const words = ["node", "supervisorctl", "--cfg", this.configuration, "shutdown"];
    if (this.agent) spawnSync(this.slapos, words, { stdio: "ignore" });
  }
}

module.exports = { Node };
