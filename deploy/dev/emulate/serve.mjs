// Starts one service of the emulator on 127.0.0.1: node serve.mjs SERVICE PORT BASE_URL, its seed as JSON on the
// standard input, which it also ends with: it never outlives who started it.
import net from "node:net";
import { createEmulator } from "emulate";

// The emulator names no host to listen on, and that is every interface.
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port) {
    return listen.call(this, { host: "127.0.0.1", port });
};

const [service, port, baseUrl] = process.argv.slice(2);
process.stdin.setEncoding("utf-8");
let begun = false;
let seed = "";
process.stdin.on("data", async (text) => {
    seed += text;
    if (!begun && seed.endsWith("\n")) {
        begun = true;
        await createEmulator({ service, port: Number(port), baseUrl, seed: JSON.parse(seed) });
    }
});
process.stdin.on("end", () => process.exit(0));
