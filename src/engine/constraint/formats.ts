/**
 * The formats of strings that are enforced, in the form that the strictest common readers take. A format may be written
 * in fewer ways than it allows: the first of its patterns that agrees with everything else about the string is used.
 */

const DATE = (() => {
  const leap = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29";
  const long = "(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])";
  const short = "(0[469]|11)-(0[1-9]|[12][0-9]|30)";
  // Several calendars have no year 0.
  return `(?!0000)(${leap}|[0-9]{4}-(${long}|${short}|02-(0[1-9]|1[0-9]|2[0-8])))`;
})();
const MINUTES = "([01][0-9]|2[0-3]):[0-5][0-9]";
const CLOCK = `${MINUTES}:[0-5][0-9](\\.[0-9]{1,9})?`;
/** Readers differ in the largest offset that they take: none refuses this. */
const UTC = `${CLOCK}Z`;
/** As RFC 3339 has it, with days of the month and leap years exactly, without leap seconds. */
const OFFSET = `${CLOCK}(Z|[+-]${MINUTES})`;
const HEX = "[0-9a-fA-F]";
const OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
const IPV4 = `${OCTET}(\\.${OCTET}){3}`;
const H16 = `${HEX}{1,4}`;
/** RFC 4291, groups of zeros left out once, without an IPv4 address at the end. */
const IPV6 = [
  `(${H16}:){7}${H16}`,
  ...Array.from({ length: 7 }, (_, left) => {
    const after = 6 - left;
    const before = left === 0 ? "" : `${H16}(:${H16}){0,${left - 1}}`;
    return `${before}::${after === 0 ? "" : `(${H16}(:${H16}){0,${after - 1}})?`}`;
  }),
].join("|");
const LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
const TOP = "[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
const ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
const PLAIN_ATOM = "[A-Za-z0-9_+-]+";
const ENCODED = `%${HEX}{2}`;
const CHAR = `([A-Za-z0-9._~!$&'()*+,;=:@-]|${ENCODED})`;
const PATH = `(/${CHAR}*)*`;
const TAIL = `(\\?(${CHAR}|[/?])*)?(#(${CHAR}|[/?])*)?`;
const PORT = "(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}))?";
const HOST = `(${LABEL}(\\.${LABEL})*\\.${TOP}|localhost|${IPV4})`;
/** With a host for schemes that readers expect one of; what other schemes say is theirs. */
const WEB = `(https?|wss?|ftp)://${HOST}${PORT}${PATH}`;
const OTHER = `(?!https?:|wss?:|ftp:)[a-z][a-z0-9+.-]{1,30}:(//(${LABEL}(\\.${LABEL})*${PORT})?${PATH}|/?${CHAR}+${PATH})`;
const URI = `(${WEB}|${OTHER})${TAIL}`;
const ANY_URI = `[A-Za-z][A-Za-z0-9+.-]*:(//(${CHAR}|[\\[\\]])*)?(${CHAR}|/)*${TAIL}`;
const REFERENCE = `(${URI}|(/?(?![^/?#]*:)${CHAR}+${PATH}|/)${TAIL})`;
const uris = [`^${URI}$`, `^${ANY_URI}$`];
const references = [`^${REFERENCE}$`, `^(${ANY_URI}|(${CHAR}|/)*${TAIL})$`];
const seconds = "[0-9]{1,9}S";
const minutes = `[0-9]{1,9}M(${seconds})?`;
const days = "[0-9]{1,9}D";
const months = `[0-9]{1,9}M(${days})?`;
/** RFC 3339, appendix A: units in order, none between two left out. */
const TIME_PART = `T([0-9]{1,9}H(${minutes})?|${minutes}|${seconds})`;
const DATE_PART = `([0-9]{1,9}Y(${months})?|${months}|${days})`;

/** Patterns of each format, the narrowest first. */
export const FORMATS: ReadonlyMap<string, readonly string[]> = new Map([
  ["date", [`^${DATE}$`]],
  ["time", [`^${UTC}$`, `^${OFFSET}$`, `^${CLOCK}$`, `^${MINUTES}(:[0-5][0-9](\\.[0-9]{1,9})?)?$`]],
  ["date-time", [`^${DATE}T${UTC}$`, `^${DATE}T${OFFSET}$`, `^${DATE}[Tt ]${CLOCK}(Z|z|[+-]${MINUTES})?$`]],
  [
    "duration",
    [
      `^P(${DATE_PART}(${TIME_PART})?|${TIME_PART})$`,
      `^P(${DATE_PART}(${TIME_PART})?|${TIME_PART}|[0-9]{1,9}W)$`,
    ],
  ],
  [
    "uuid",
    [
      `^${HEX}{8}-${HEX}{4}-[1-8]${HEX}{3}-[89abAB]${HEX}{3}-${HEX}{12}$`,
      `^${HEX}{8}(-${HEX}{4}){3}-${HEX}{12}$`,
    ],
  ],
  ["email", emails()],
  ["idn-email", emails()],
  ["hostname", hostnames()],
  ["idn-hostname", hostnames()],
  ["ipv4", [`^${IPV4}$`]],
  ["ipv6", [`^(${IPV6})$`]],
  ["uri", uris],
  ["iri", uris],
  ["uri-reference", references],
  ["iri-reference", references],
  ["json-pointer", ["^(/([^~/]|~[01])*)*$"]],
  ["relative-json-pointer", ["^(0|[1-9][0-9]{0,8})(#|(/([^~/]|~[01])*)*)$"]],
]);

function emails(): string[] {
  return [
    `^${PLAIN_ATOM}(\\.${PLAIN_ATOM})*@(${LABEL}\\.)+[A-Za-z]{2,63}$`,
    `^${ATOM}(\\.${ATOM})*@${LABEL}(\\.${LABEL})+$`,
  ];
}

function hostnames(): string[] {
  return [`^(${LABEL}\\.)*${TOP}$`, `^${LABEL}(\\.${LABEL})*$`];
}

/** Whole numbers of a format of OpenAPI, and of the languages that write such schemas. */
export const INTEGER_FORMATS: ReadonlyMap<string, readonly [least: bigint, most: bigint]> = new Map(
  [8n, 16n, 32n, 64n].flatMap((bits) => [
    [`int${bits}`, [-(2n ** (bits - 1n)), 2n ** (bits - 1n) - 1n]] as const,
    [`uint${bits}`, [0n, 2n ** bits - 1n]] as const,
  ]),
);
