/** The commands: each gives its answer in RESP2. */
import { printable } from "./request.ts";
import type { Store } from "./store.ts";

/** Bytes of an answer, and of a value. */
export const ANSWER_MAX = 16 * 1024 * 1024;
/** Characters of a pattern. */
const PATTERN_MAX = 256;
const INT64_MAX = 2n ** 63n - 1n;
/** The latest time that a key may live to. */
const EXPIRES_MS_MAX = 2 ** 53 - 1;

export const OK = "+OK\r\n";
const NIL = "$-1\r\n";
const SYNTAX = failed("syntax error");
const NO_INTEGER = failed("value is not an integer or out of range");
const TOO_LONG = failed(`the answer would have more than ${ANSWER_MAX} bytes`);

interface Command {
  /** Arguments, the name included; negative for that many or more. */
  readonly arity: number;
  /** It may need more memory. */
  readonly grows?: true;
  readonly run: (args: string[], store: Store, request?: string) => string;
}

/** An error as an answer. */
export function failed(message: string, code = "ERR"): string {
  return `-${code} ${message}\r\n`;
}

function bulk(text: string): string {
  return `$${text.length}\r\n${text}\r\n`;
}

function integer(value: number | bigint): string {
  return `:${value}\r\n`;
}

/** Values as an array, as far as that is no longer than an answer may be. */
function array(values: Iterable<string | undefined>): string {
  let text = "";
  let count = 0;
  for (const value of values) {
    text += value === undefined ? NIL : bulk(value);
    count++;
    if (text.length > ANSWER_MAX) return TOO_LONG;
  }
  return `*${count}\r\n${text}`;
}

/** The whole number of an argument, in 64 bits; undefined if it is none. */
function integerOf(text: string): bigint | undefined {
  if (!/^(0|-?[1-9]\d{0,18})$/.test(text)) return undefined;
  const value = BigInt(text);
  return BigInt.asIntN(64, value) === value ? value : undefined;
}

// ---- strings -------------------------------------------------------------------

/** Options of SET: a time in some unit, from now or since 1970. */
const TIMES: Record<string, { unitMs: number; isAbsolute: boolean }> = {
  EX: { unitMs: 1000, isAbsolute: false },
  PX: { unitMs: 1, isAbsolute: false },
  EXAT: { unitMs: 1000, isAbsolute: true },
  PXAT: { unitMs: 1, isAbsolute: true },
};

function set(args: string[], store: Store, request?: string): string {
  const [, key = "", value = ""] = args;
  if (args.length === 3) {
    store.put(key, value, undefined, request);
    return OK;
  }
  let expiresMs: number | undefined;
  let condition: string | undefined;
  for (let i = 3; i < args.length; i++) {
    const option = args[i]!.toUpperCase();
    if (option === "NX" || option === "XX") {
      if ((condition ?? option) !== option) return SYNTAX;
      condition = option;
      continue;
    }
    const time = TIMES[option];
    if (time === undefined || expiresMs !== undefined) return SYNTAX;
    if (++i === args.length) return SYNTAX;
    const number = integerOf(args[i]!);
    if (number === undefined) return NO_INTEGER;
    expiresMs = timeOf(Number(number), time);
    if (!(number > 0n && expiresMs <= EXPIRES_MS_MAX)) {
      return failed("invalid expire time in 'set' command");
    }
  }
  const isThere = condition !== undefined && store.get(key) !== undefined;
  if (condition === "NX" && isThere || condition === "XX" && !isThere) {
    return NIL;
  }
  store.put(key, value, expiresMs);
  return OK;
}

function timeOf(
  number: number,
  { unitMs, isAbsolute }: { unitMs: number; isAbsolute: boolean },
): number {
  return unitMs * number + (isAbsolute ? 0 : Date.now());
}

function get([, key = ""]: string[], store: Store): string {
  const value = store.get(key);
  return value === undefined ? NIL : bulk(value);
}

function mset(args: string[], store: Store): string {
  if (args.length % 2 === 0) return wrongCount("mset");
  for (let i = 1; i < args.length; i += 2) store.put(args[i]!, args[i + 1]!);
  return OK;
}

function add(key: string, amount: bigint, store: Store): string {
  const value = integerOf(store.get(key) ?? "0");
  if (value === undefined) return NO_INTEGER;
  const sum = value + amount;
  if (BigInt.asIntN(64, sum) !== sum) {
    return failed("increment or decrement would overflow");
  }
  store.put(key, `${sum}`, store.expiresMs(key));
  return integer(sum);
}

function addTo(sign: bigint): Command["run"] {
  return ([, key = "", text = ""], store) => {
    const amount = integerOf(text);
    if (amount === undefined) return NO_INTEGER;
    return sign < 0n && amount < -INT64_MAX
      ? failed("decrement would overflow")
      : add(key, sign * amount, store);
  };
}

// ---- keys ----------------------------------------------------------------------

function count(
  [, ...keys]: string[],
  isOne: (key: string) => boolean,
): string {
  return integer(keys.filter(isOne).length);
}

/** Sets the time of a key: in the past it is deleted. */
function expire(
  name: string,
  unitMs: number,
  isAbsolute: boolean,
): Command["run"] {
  return ([, key = "", text = ""], store) => {
    const number = integerOf(text);
    if (number === undefined) return NO_INTEGER;
    const expiresMs = timeOf(Number(number), { unitMs, isAbsolute });
    if (!(Math.abs(expiresMs) <= EXPIRES_MS_MAX)) {
      return failed(`invalid expire time in '${name}' command`);
    }
    if (store.get(key) === undefined) return integer(0);
    if (expiresMs <= Date.now()) store.delete(key);
    else store.expire(key, expiresMs);
    return integer(1);
  };
}

function timeLeft(unitMs: number): Command["run"] {
  return ([, key = ""], store) => {
    if (store.get(key) === undefined) return integer(-2);
    const expiresMs = store.expiresMs(key);
    if (expiresMs === undefined) return integer(-1);
    return integer(Math.round((expiresMs - Date.now()) / unitMs));
  };
}

/** The keys that match a pattern. */
function keys([, pattern = ""]: string[], store: Store): string {
  if (pattern.length > PATTERN_MAX) return failed("the pattern is too long");
  const found = function* () {
    for (const key of store.keys()) if (matches(pattern, key)) yield key;
  };
  return array(found());
}

/** Matches with `*`, `?`, `[a-c]`, `[^a]` and `\`. A star that fails is longer
 * by one, and those before it stay: no pattern takes more than the product of
 * both lengths. */
export function matches(pattern: string, text: string): boolean {
  let [p, t, star, from] = [0, 0, -1, 0];
  while (t < text.length) {
    if (pattern[p] === "*") {
      star = p++;
      from = t;
      continue;
    }
    const next = p < pattern.length ? matchOne(pattern, p, text[t]!) : 0;
    if (next > 0) {
      p = next;
      t++;
    } else if (star >= 0) {
      p = star + 1;
      t = ++from;
    } else return false;
  }
  while (pattern[p] === "*") p++;
  return p === pattern.length;
}

/** Gives the place behind a part of the pattern; 0 if the character is another. */
function matchOne(pattern: string, at: number, char: string): number {
  const part = pattern[at]!;
  if (part === "?") return at + 1;
  if (part === "\\" && at + 1 < pattern.length) {
    return pattern[at + 1] === char ? at + 2 : 0;
  }
  if (part !== "[") return part === char ? at + 1 : 0;
  let i = at + 1;
  const isNot = pattern[i] === "^";
  if (isNot) i++;
  let isIn = false;
  for (; i < pattern.length && pattern[i] !== "]"; i++) {
    if (pattern[i] === "\\" && i + 1 < pattern.length) i++;
    let [low, high] = [pattern[i]!, pattern[i]!];
    if (pattern[i + 1] === "-" && i + 2 < pattern.length) {
      high = pattern[i += 2]!;
      if (low > high) [low, high] = [high, low];
    }
    isIn ||= low <= char && char <= high;
  }
  return isIn !== isNot ? Math.min(i + 1, pattern.length) : 0;
}

// ---- the server ----------------------------------------------------------------

function ping([, text, ...more]: string[]): string {
  if (more.length > 0) return wrongCount("ping");
  return text === undefined ? "+PONG\r\n" : bulk(text);
}

function info(_: string[], store: Store): string {
  return bulk([
    "# Server",
    "redis_version:7.0.0",
    "redis_mode:standalone",
    `process_id:${Deno.pid}`,
    "# Memory",
    `used_memory:${store.bytes}`,
    `maxmemory:${store.bytesMax}`,
    "# Persistence",
    `aof_enabled:${store.onChange === undefined ? 0 : 1}`,
    "# Keyspace",
    `db0:keys=${store.size},expires=0,avg_ttl=0`,
    "",
  ].join("\r\n"));
}

function config([, action = "", name = ""]: string[], store: Store): string {
  if (action.toUpperCase() !== "GET") {
    return failed(`unknown subcommand '${printable(action.slice(0, 128))}'.`);
  }
  const settings: Record<string, string> = {
    appendonly: store.onChange === undefined ? "no" : "yes",
    maxmemory: `${store.bytesMax}`,
    save: "",
  };
  const asked = name.toLowerCase();
  return array(
    Object.entries(settings).filter(([it]) => matches(asked, it)).flat(),
  );
}

/** By the name in capitals. */
const COMMANDS = new Map<string, Command>(Object.entries<Command>({
  PING: { arity: -1, run: ping },
  ECHO: { arity: 2, run: ([, text = ""]) => bulk(text) },
  SET: { arity: -3, grows: true, run: set },
  GET: { arity: 2, run: get },
  MSET: { arity: -3, grows: true, run: mset },
  MGET: {
    arity: -2,
    run: ([, ...keys], store) =>
      array(keys.values().map((key) => store.get(key))),
  },
  INCR: {
    arity: 2,
    grows: true,
    run: ([, key = ""], store) => add(key, 1n, store),
  },
  DECR: {
    arity: 2,
    grows: true,
    run: ([, key = ""], store) => add(key, -1n, store),
  },
  INCRBY: { arity: 3, grows: true, run: addTo(1n) },
  DECRBY: { arity: 3, grows: true, run: addTo(-1n) },
  DEL: {
    arity: -2,
    run: (args, store) => count(args, (key) => store.delete(key)),
  },
  EXISTS: {
    arity: -2,
    run: (args, store) => count(args, (key) => store.get(key) !== undefined),
  },
  EXPIRE: { arity: 3, run: expire("expire", 1000, false) },
  PEXPIRE: { arity: 3, run: expire("pexpire", 1, false) },
  PEXPIREAT: { arity: 3, run: expire("pexpireat", 1, true) },
  TTL: { arity: 2, run: timeLeft(1000) },
  PTTL: { arity: 2, run: timeLeft(1) },
  KEYS: { arity: 2, run: keys },
  DBSIZE: { arity: 1, run: (_, store) => integer(store.size) },
  FLUSHALL: {
    arity: 1,
    run: (_, store) => {
      store.clear();
      return OK;
    },
  },
  SELECT: {
    arity: 2,
    run: ([, index]) => index === "0" ? OK : failed("DB index is out of range"),
  },
  COMMAND: { arity: -1, run: () => "*0\r\n" },
  CONFIG: { arity: -3, run: config },
  INFO: { arity: -1, run: info },
}));

/** Many requests in a row have the same name. */
let lastName: string | undefined;
let lastCommand: Command | undefined;

function wrongCount(name: string): string {
  return failed(`wrong number of arguments for '${name}' command`);
}

/**
 * Does what a request asks for.
 *
 * @param args The name and the arguments, one or more.
 * @param request The bytes that they came in. The log takes them for a change
 * that they repeat at any time.
 * @returns The answer.
 */
export function execute(
  args: string[],
  store: Store,
  request?: string,
): string {
  const name = args[0]!;
  if (name !== lastName) {
    const command = COMMANDS.get(name) ?? COMMANDS.get(name.toUpperCase());
    if (command === undefined) return unknown(args);
    lastName = name;
    lastCommand = command;
  }
  const { arity, grows, run } = lastCommand!;
  if (arity < 0 ? args.length < -arity : args.length !== arity) {
    return wrongCount(name.toLowerCase());
  }
  if (grows && store.bytes > store.bytesMax) {
    return failed(
      "command not allowed when used memory > 'maxmemory'.",
      "OOM",
    );
  }
  return run(args, store, request);
}

function unknown([name = "", ...args]: string[]): string {
  let shown = "";
  for (const arg of args) {
    if (shown.length >= 128) break;
    shown += `'${arg.slice(0, 128 - shown.length)}' `;
  }
  return failed(printable(
    `unknown command '${
      name.slice(0, 128)
    }', with args beginning with: ${shown}`,
  ));
}
