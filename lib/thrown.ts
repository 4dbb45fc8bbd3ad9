/** An error as it crosses from a thread: what a structured clone drops. */
export interface PackedError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly isDomException: boolean;
  /** Own properties that are primitive, like `code`. */
  readonly properties: Record<string, unknown>;
  readonly cause?: PackedThrown;
  /** Of an AggregateError. */
  readonly errors?: readonly PackedThrown[];
}

/** What was thrown: an error, or any other value. */
export type PackedThrown = { readonly error: PackedError } | {
  readonly value: unknown;
};

/**
 * Takes an error apart so that it survives the way between threads; a clone
 * would lose the name of its class, its properties and, in part, its cause.
 * It is sent to the threads as text, so it must not refer to anything else.
 */
export function pack(thrown: unknown, depth = 0): PackedThrown {
  const DEPTH_MAX = 8;
  if (!(thrown instanceof Error)) return { value: thrown };
  const properties: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(thrown)) {
    const isPrimitive = value === null ||
      /^(string|number|bigint|boolean|undefined)$/.test(typeof value);
    if (isPrimitive) properties[key] = value;
  }
  const { errors } = thrown as Partial<AggregateError>;
  const isDeep = depth >= DEPTH_MAX;
  return {
    error: {
      name: String(thrown.name),
      message: String(thrown.message),
      stack: thrown.stack === undefined ? undefined : String(thrown.stack),
      isDomException: thrown instanceof DOMException,
      properties,
      ...("cause" in thrown && !isDeep && thrown.cause !== thrown
        ? { cause: pack(thrown.cause, depth + 1) }
        : {}),
      ...(Array.isArray(errors) && !isDeep
        ? { errors: errors.map((error) => pack(error, depth + 1)) }
        : {}),
    },
  };
}

/** The class of an error of the language or of Deno, else `Error`. */
function classNamed(name: string): new (message: string) => Error {
  const classes = [
    EvalError,
    RangeError,
    ReferenceError,
    SyntaxError,
    TypeError,
    URIError,
    ...Object.values(Deno.errors),
  ];
  return classes.find((Class) => Class.name === name) ?? Error;
}

/** The error again: of its class where it is one of the language, of the web
 * or of Deno, else an `Error` with its name. */
export function unpack(thrown: PackedThrown): unknown {
  if ("value" in thrown) return thrown.value;
  const { name, message, stack, isDomException, properties, cause, errors } =
    thrown.error;
  if (isDomException) {
    return define(new DOMException(message, name), { stack });
  }
  const error = errors === undefined
    ? new (classNamed(name))(message)
    : new AggregateError(errors.map(unpack), message);
  if (error.name !== name) define(error, { name });
  if (cause !== undefined) define(error, { cause: unpack(cause) });
  return define(Object.assign(error, properties), { stack });
}

/** Sets properties as an error has them: not enumerable. */
function define(error: Error, properties: Record<string, unknown>): Error {
  for (const [key, value] of Object.entries(properties)) {
    Object.defineProperty(error, key, {
      value,
      configurable: true,
      writable: true,
    });
  }
  return error;
}
