// Reads an AsyncAPI document from the standard input, and writes what its parser has to say, as JSON.
import parser from "@asyncapi/parser";
import { readFileSync } from "node:fs";

const { document, diagnostics } = await new parser.Parser().parse(readFileSync(0, "utf8"));
const told = diagnostics.map(({ severity, code, message, path }) => ({ severity, code, message, path: path.join(".") }));
console.log(JSON.stringify({ isRead: document !== undefined, told }));
