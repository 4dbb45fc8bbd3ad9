/**
 * That numbers which TypeScript and C share are the same: constants of the
 * system, parts of its structures and of the shim's own, and the types of the
 * shim's functions. The C compiler says what they are.
 */
import { assert, assertEquals } from "@std/assert";
import {
  compile,
  compileGuard,
  FAULTS,
  SHIM_FOLDER,
  sourcesIn,
} from "../../ffi/compile.ts";
import { FaultKind } from "../../ffi/faults.ts";
import { SOURCES } from "../../ffi/sources.ts";
import * as symbolTables from "../../ffi/symbols.ts";
import * as constants from "../../lib/constants.ts";
import * as errno from "../../lib/errno.ts";
import { ROWS } from "../../lib/ops/rows.ts";
import type { Row } from "../../lib/ops/table.ts";
import { ADDRESS_SIZE } from "../../lib/SocketAddress.ts";
import {
  assertPrinted,
  compileMutant,
  ROOT,
  runScript,
  temporaryFolder,
} from "./support.ts";

/** A number of TypeScript: what C calls it, and its value. */
type Shared = [expression: string, value: number];

/** Numbers whose names are those of the system. */
const SYSTEM = { ...constants, ...errno };

/** Each exported number and each of the errno table, by its name in C; a name
 * that is in both is compared twice. */
function numbers(): Shared[] {
  const all = Object.entries<unknown>(SYSTEM)
    .filter((entry): entry is Shared => typeof entry[1] !== "function");
  for (let number = 1; number < 1100; number++) {
    const [name, meaning] = errno.errnoText(number);
    if (!meaning.startsWith("Unknown error")) all.push([name, number]);
  }
  return all.map(([name, number]) => [expressionOf(name), number]);
}

/** Gives the expression in C of a name of the system: the codes of getaddrinfo(3) are moved
 * behind the errnos. */
function expressionOf(name: string): string {
  return name.startsWith("EAI_") ? `1000 - (${name})` : name;
}

/** Where C has them. */
const INCLUDES = [
  "dirent.h",
  "fcntl.h",
  "limits.h",
  "linux/errqueue.h",
  "linux/filter.h",
  "linux/openat2.h",
  "netdb.h",
  "netinet/in.h",
  "netinet/tcp.h",
  "netinet/udp.h",
  "poll.h",
  "stddef.h",
  "stdio.h",
  "sys/socket.h",
  "sys/stat.h",
  "sys/uio.h",
  "sys/un.h",
  "sys/xattr.h",
  "time.h",
].map((name) => `#include <${name}>\n`).join("");

/** That the C compiler has these values, with the shim's headers and its
 * faults before it. */
async function assertShared(shared: readonly Shared[]): Promise<void> {
  const folder = Deno.makeTempDirSync();
  try {
    const lines = shared.map(([expression]) =>
      `printf("%lld\\n", (long long)(${expression}));`
    );
    Deno.writeTextFileSync(
      `${folder}/layout.c`,
      `#include "${SHIM_FOLDER}/test/faults.c"\n${INCLUDES}int main(void)\n{\n${
        lines.join("\n")
      }\n}\n`,
    );
    const program = `${folder}/layout`;
    await compile([
      "-std=gnu11",
      ...FAULTS.flags,
      await compileGuard(folder),
      `${folder}/layout.c`,
      ...sourcesIn(SHIM_FOLDER),
      `${SHIM_FOLDER}/test/fault_plan.c`,
      ...["-o", program, "-luring"],
    ]);
    const { success, stdout } = new Deno.Command(program).outputSync();
    assert(success);
    const values = new TextDecoder().decode(stdout).trim().split("\n");
    assertEquals(
      shared,
      shared.map(([expression], i) => [expression, Number(values[i])]),
    );
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

Deno.test("lib/constants.ts and lib/errno.ts have the C compiler's numbers", async () => {
  await assertShared(numbers());
});

Deno.test("FaultKind has the numbers of the shim", async () => {
  const kinds = Object.entries(FaultKind);
  assertEquals(kinds.length, 5);
  await assertShared(kinds.map(([name, value]) => [`FAULT_${name}`, value]));
});

/** Numbers that a module has for itself, whichever that is, under names of its
 * own: what they are in C. */
const TWINS: Readonly<Record<string, string | readonly string[]>> = {
  // The shim.
  ABI: "KIO_ABI",
  ADDRESSES_MAX: "ADDRESSES_MAX",
  BOUNDED_WAIT_MS: "WAIT_MS * 3 / 2",
  FOLDER_BATCH_SIZE: "FOLDER_BATCH_SIZE",
  FOLDER_FOLLOW: "FOLDER_FOLLOW",
  FOLDER_NOFOLLOW: "FOLDER_NOFOLLOW",
  FOLDER_SELF: "FOLDER_SELF",
  FOLDER_STAT: "FOLDER_STAT",
  FOLDER_STAT_ERRNO: "FOLDER_STAT_ERRNO",
  FOLDER_STAT_SIZE: "FOLDER_STAT_SIZE",
  HOST_SIZE_MAX: "HOST_SIZE - 1",
  MESSAGE_NAME_AT: "MSG_NAME",
  MESSAGE_VECTORS_AT: "MSG_VECTORS",
  PLACES_MAX: "KIO_PLACES",
  OPCODES_MAX: "sizeof(opcodes) / sizeof(*opcodes)",
  FAULT_OF_ANY: "FAULT_OF_ANY",
  FAULT_OF_ENTER: "FAULT_OF_ENTER",
  RECORD_FIELDS: "sizeof(struct fault_record) / sizeof(int32_t)",
  RECORD_LENGTH_AT: "sizeof(struct sockaddr_storage)",
  RECORD_SIZE: "ADDRESS_RECORD_SIZE",
  SQE_SIZE: "sizeof(struct io_uring_sqe)",
  STEPS_MAX: "UD_STEPS_MAX",
  TRIAL_ACCEPT: "KIO_TRIAL_ACCEPT",
  TRIAL_BUFFERS: "KIO_TRIAL_BUFFERS",
  TRIAL_RECEIVE: "KIO_TRIAL_RECEIVE",

  // user_data, most of it by its high half.
  CANCEL_FAILED: "UD_INTERNAL >> 32",
  GENERATION_MASK: "(UD_MAKES_FD - 1) >> 32",
  MAIL_HAS_COME: "(UD_INBOX & ~UD_MESSAGE) >> 32",
  MAKES_FD: "UD_MAKES_FD",
  MESSAGE_MASK: "(UD_MESSAGE - 1) >> 32",
  SPAN: "UINT32_MAX + 1ULL",
  STEP_MASK: "UD_STEPS_MAX - 1",
  STEP_SHIFT: "UD_STEP_SHIFT - 32",
  TAKEN_BACK: "UD_TAKE_BACK >> 32",

  // io_uring.
  CONNECT: "IORING_OP_CONNECT",
  BUFFER_SHIFT: "IORING_CQE_BUFFER_SHIFT",
  CQE_F_BUFFER: "IORING_CQE_F_BUFFER",
  CQE_F_MORE: "IORING_CQE_F_MORE",
  FALLOCATE: "IORING_OP_FALLOCATE",
  FEAT_NO_IOWAIT: "KIO_FEAT_NO_IOWAIT",
  POLL_ADD: "IORING_OP_POLL_ADD",
  POLL_ADD_MULTI: "IORING_POLL_ADD_MULTI",
  SETUP_COOP_TASKRUN: "IORING_SETUP_COOP_TASKRUN",
  SETUP_DEFER_TASKRUN: "IORING_SETUP_DEFER_TASKRUN",
  SETUP_SINGLE_ISSUER: "IORING_SETUP_SINGLE_ISSUER",
  SETUP_SUBMIT_ALL: "IORING_SETUP_SUBMIT_ALL",

  // Addresses.
  ADDRESS_SIZE: "sizeof(struct sockaddr_storage)",
  IPV4_AT: "offsetof(struct sockaddr_in, sin_addr)",
  IPV4_SIZE: "sizeof(struct sockaddr_in)",
  IPV6_AT: "offsetof(struct sockaddr_in6, sin6_addr)",
  IPV6_SCOPE_AT: "offsetof(struct sockaddr_in6, sin6_scope_id)",
  IPV6_SIZE: "sizeof(struct sockaddr_in6)",
  PATH_AT: "offsetof(struct sockaddr_un, sun_path)",
  PATH_SIZE: "sizeof(((struct sockaddr_un *)0)->sun_path)",
  PORT_AT: [
    "offsetof(struct sockaddr_in, sin_port)",
    "offsetof(struct sockaddr_in6, sin6_port)",
  ],

  // Messages and vectors.
  ALIGNMENT: "CMSG_ALIGN(1)",
  ERROR_CODE_AT: "offsetof(struct sock_extended_err, ee_code)",
  ERROR_INFO_AT: "offsetof(struct sock_extended_err, ee_info)",
  ERROR_SIZE: "sizeof(struct sock_extended_err)",
  ERROR_TYPE_AT: "offsetof(struct sock_extended_err, ee_type)",
  FD_SIZE: "sizeof(int)",
  HEADER_SIZE: "CMSG_LEN(0)",
  LEVEL_AT: "offsetof(struct cmsghdr, cmsg_level)",
  LINGER_SIZE: "sizeof(struct linger)",
  MREQ6_INTERFACE_AT: "offsetof(struct ipv6_mreq, ipv6mr_interface)",
  MREQ6_SIZE: "sizeof(struct ipv6_mreq)",
  MREQN_INTERFACE_AT: "offsetof(struct ip_mreqn, imr_ifindex)",
  MREQN_SIZE: "sizeof(struct ip_mreqn)",
  MSG_CONTROLLEN_AT: "offsetof(struct msghdr, msg_controllen)",
  MSG_FLAGS_AT: "offsetof(struct msghdr, msg_flags)",
  MSG_NAMELEN_AT: "offsetof(struct msghdr, msg_namelen)",
  OUT_CONTROLLEN_AT: "offsetof(struct io_uring_recvmsg_out, controllen)",
  OUT_FLAGS_AT: "offsetof(struct io_uring_recvmsg_out, flags)",
  OUT_NAMELEN_AT: "offsetof(struct io_uring_recvmsg_out, namelen)",
  OUT_NAME_AT: "sizeof(struct io_uring_recvmsg_out)",
  OUT_PAYLOADLEN_AT: "offsetof(struct io_uring_recvmsg_out, payloadlen)",
  TYPE_AT: "offsetof(struct cmsghdr, cmsg_type)",
  VECTORS_MAX: "IOV_MAX",
  VECTOR_SIZE: "sizeof(struct iovec)",

  // Files.
  HOW_FLAGS_AT: "offsetof(struct open_how, flags)",
  HOW_MODE_AT: "offsetof(struct open_how, mode)",
  HOW_RESOLVE_AT: "offsetof(struct open_how, resolve)",
  HOW_SIZE: "sizeof(struct open_how)",
  O_TMPFILE_BIT: "O_TMPFILE & ~O_DIRECTORY",
  PATH_MAX: "PATH_MAX",
  STAT_ACCESSED_AT: "offsetof(struct statx, stx_atime)",
  STAT_ATTRIBUTES_AT: "offsetof(struct statx, stx_attributes)",
  STAT_ATTRIBUTES_MASK_AT: "offsetof(struct statx, stx_attributes_mask)",
  STAT_BIRTH_AT: "offsetof(struct statx, stx_btime)",
  STAT_BLOCKS_AT: "offsetof(struct statx, stx_blocks)",
  STAT_BLOCK_SIZE_AT: "offsetof(struct statx, stx_blksize)",
  STAT_CHANGED_AT: "offsetof(struct statx, stx_ctime)",
  STAT_DEVICE_AT: "offsetof(struct statx, stx_dev_major)",
  STAT_FILE_SIZE_AT: "offsetof(struct statx, stx_size)",
  STAT_GID_AT: "offsetof(struct statx, stx_gid)",
  STAT_INODE_AT: "offsetof(struct statx, stx_ino)",
  STAT_LINKS_AT: "offsetof(struct statx, stx_nlink)",
  STAT_MASK_AT: "offsetof(struct statx, stx_mask)",
  STAT_MODE_AT: "offsetof(struct statx, stx_mode)",
  STAT_MODIFIED_AT: "offsetof(struct statx, stx_mtime)",
  STAT_MOUNT_ID_AT: "offsetof(struct statx, stx_mnt_id)",
  STAT_RDEV_AT: "offsetof(struct statx, stx_rdev_major)",
  STAT_SIZE: "sizeof(struct statx)",
  STAT_UID_AT: "offsetof(struct statx, stx_uid)",
  XATTR_SIZE_MAX: "XATTR_SIZE_MAX",
};

/** Names that a number of the system has in C too. */
const SYSTEM_NAME =
  /^(AF|AT|IORING|IOSQE|IPPROTO|IPV6_V6ONLY|MSG|O|S|SCM|SO|SOCK|SOL|STATX|TCP)(_|$)/;

/** The paths of all modules. */
function* modulesIn(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    const path = `${folder}/${name}`;
    if (isDirectory) yield* modulesIn(path);
    else if (name.endsWith(".ts")) yield path;
  }
}

/** Gives the names in C of a number of a module; undefined for one of the module's own. */
function twinsOf(name: string): string | readonly string[] | undefined {
  const isSystem = SYSTEM_NAME.test(name) || Object.hasOwn(SYSTEM, name);
  return TWINS[name] ?? (isSystem ? expressionOf(name) : undefined);
}

/** The value of a number, or of two; undefined for anything else. */
function evaluate(
  text: string,
  known: ReadonlyMap<string, number>,
): number | undefined {
  const match = /^(-?\w+)(?: (<<|\*\*|[*+]) (\w+))?$/.exec(text);
  if (match === null) return undefined;
  const [, first = "", operator, second = ""] = match;
  const valueOf = (it: string) => known.get(it) ?? Number(it || NaN);
  const [a, b] = [valueOf(first), valueOf(second)];
  const value = operator === "<<"
    ? a << b
    : operator === "**"
    ? a ** b
    : operator === "*"
    ? a * b
    : operator === "+"
    ? a + b
    : a;
  return Number.isNaN(value) ? undefined : value;
}

Deno.test("numbers of the system and of the shim are those of the C compiler, in each module", async () => {
  const shared: Shared[] = [];
  const missing = new Set(Object.keys(TWINS));
  const untested: string[] = [];
  for (const folder of ["ffi", "lib", "net", "helpers", "testing"]) {
    for (const path of modulesIn(ROOT + folder)) {
      const text = Deno.readTextFileSync(path);
      const isLayout = path.endsWith("/lib/ops/layout.ts");
      const known = new Map(Object.entries({ ADDRESS_SIZE }));
      for (
        const [, name = "", value = ""] of text.matchAll(
          /^(?:export )?const ([A-Z][A-Z0-9_]*)(?:: number)? = ([^;"]+);/gm,
        )
      ) {
        const number = evaluate(value.replaceAll(/\s+/g, " "), known);
        const twins = twinsOf(name);
        if (number === undefined) continue;
        known.set(name, number);
        missing.delete(name);
        if (twins !== undefined) {
          for (const twin of [twins].flat()) shared.push([twin, number]);
        } else if (isLayout || name.endsWith("_AT")) {
          untested.push(name);
        }
      }
    }
  }
  assertEquals([...missing], [], "no module has them");
  assertEquals(untested, [], "they are not compared");
  await assertShared(shared);
});

/** Gives the types in Deno of a parameter or result; a pointer is either kind. */
function typesOf(declaration: string): string[] {
  if (/\*/.test(declaration)) return ["buffer", "pointer"];
  const [type = ""] = /\b(u?int\d*(_t)?|double|bool|void)\b/.exec(
    declaration,
  ) ?? [];
  return {
    int: ["i32"],
    int32_t: ["i32"],
    int64_t: ["i64"],
    uint32_t: ["u32"],
    uint64_t: ["u64"],
    double: ["f64"],
    bool: ["bool"],
    void: ["void"],
  }[type] ?? [`no type: ${declaration}`];
}

Deno.test("symbols.ts has the functions of the shim, with their types", () => {
  const declared = new Map<string, string[][]>();
  for (
    const [, result = "", name = "", parameters = ""] of Object
      .values(SOURCES).join("\n").matchAll(
        /^(?:EXPORT|__attribute__\(\(visibility\("default"\)\)\)) ([^();#]*?)(\w+)\(([^()]*)\)(?:;|\n\{)/gm,
      )
  ) {
    const each = parameters === "void" ? [] : parameters.split(",");
    declared.set(name, [result, ...each].map(typesOf));
  }
  // Deno's Node-API calls it.
  declared.delete("napi_register_module_v1");
  const tables: Record<string, Deno.ForeignFunction> = Object.assign(
    {},
    ...Object.values(symbolTables),
  );
  assertEquals(Object.keys(tables).sort(), [...declared.keys()].sort());
  for (const [name, definition] of Object.entries(tables)) {
    const bound = [definition.result, ...definition.parameters];
    const types = declared.get(name)!;
    assertEquals(bound.length, types.length, name);
    bound.forEach((type, i) =>
      assert(types[i]!.includes(`${type}`), `${name}: ${i}: ${type}`)
    );
  }
});

Deno.test("opcodes.c has the opcodes of lib/ops/table.ts, by the same names", async () => {
  const same = ({ opcode, fault }: Row): Shared[] => {
    if (opcode < 0) return [];
    const row = `opcodes[${opcode}].name`;
    if (fault === undefined) return [[`${row} != NULL`, 1]];
    const name = fault.replace(/[A-Z]/g, (it) => `_${it.toLowerCase()}`);
    return [[`${row} && strcmp(${row}, "${name}") == 0`, 1]];
  };
  await assertShared(ROWS.flatMap(same));
});

Deno.test("operations wait for the events that opcodes.c says", async () => {
  const rows = ROWS.filter(({ waits }) => waits !== 0);
  assert(rows.length >= 4);
  await assertShared(rows.map(({ opcode, waits }): Shared => [
    `opcodes[${opcode}].waits`,
    waits,
  ]));
});

Deno.test("an operation without a row in opcodes.c fails with ENOSYS, and never starts", async () => {
  using folder = temporaryFolder();
  const library = await compileMutant(
    folder.path,
    '\t[IORING_OP_SHUTDOWN] = { .name = "shutdown" },\n',
    "",
  );
  const script = `
    using ctx = new kio.IoContext();
    const [left, right] = kio.unwrap(kio.Socket.pair());
    try {
      await kio.asyncShutdown(ctx, left, 1).orThrow();
    } catch (error) {
      console.log(error.message, ctx.stats().submissions);
    }
    await left.close();
    await right.close();
  `;
  assertPrinted(
    await runScript(script, {
      flags: ["--allow-ffi", "--allow-env=KIO_LIB"],
      env: { KIO_LIB: library },
    }),
    "Cannot shut down: Function not implemented (ENOSYS) 0\n",
  );
});
