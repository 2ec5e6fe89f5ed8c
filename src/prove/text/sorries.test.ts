import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TextPositions } from "./positions.ts";
import { declarationsOf, fillSorries, findSorries, indentProof } from "./sorries.ts";
import { proverFixture } from "./testing.ts";
import { tokensOf, withoutComments } from "./tokens.ts";

const fixture = proverFixture<{
  source: string;
  sorries: { offset: number; utf16: number; byte: number; line: number; column: number }[];
  fills: string[];
  filled: string;
}>("sorries.json");

const source = fc
  .array(
    fc.constantFrom(
      ..."𝔸 \n\"'\\-/·sor(){}⟨⟩#@[]«»x1.:=r".split("").concat("sorry ", "/-", "-/", "--", "𝔸", "theorem "),
    ),
  )
  .map((parts) => parts.join(""));

describe("sorries", () => {
  it("are found with their places as Lean and JavaScript count them", () => {
    const positions = new TextPositions(fixture.source);
    const found = findSorries(fixture.source);
    expect(
      found.map(({ start: { index, line, column } }) => ({
        offset: positions.offsetOf(index),
        utf16: index,
        byte: positions.byteOf(index),
        line,
        column,
      })),
    ).toEqual(fixture.sorries);
    expect(found.map(({ declaration }) => declaration?.name)).toEqual(["one", "two", "three", "three"]);
  });

  it("are filled, the text around them left as it was", () => {
    const found = findSorries(fixture.source);
    expect(fillSorries(fixture.source, found, fixture.fills)).toBe(fixture.filled);
    expect(fillSorries(fixture.source, found, [null, null, null, null])).toBe(fixture.source);
    const crlf = fixture.source.replaceAll("\n", "\r\n");
    const lines = [null, null, null, "omega\nskip"];
    expect(fillSorries(crlf, findSorries(crlf), lines)).toBe(
      fillSorries(fixture.source, found, lines).replaceAll("\n", "\r\n"),
    );
  });

  it("stand in the declaration around them, its comment, attributes and modifiers included", () => {
    const text = [
      "structure A where",
      "  /-- of a field -/",
      "  x : Nat := sorry",
      "  deriving Repr",
      "",
      "/-- d -/",
      "@[simp, foo (bar)] private theorem b : 1 = 1 := by",
      "  sorry",
      "#check sorry",
      "namespace Y",
      "  theorem c : (1 = 1 := by sorry",
      "theorem d : True := sorry",
    ].join("\n");
    const found = findSorries(text).map(
      ({ declaration }) => declaration && text.slice(declaration.start, declaration.end),
    );
    expect(found).toEqual([
      "structure A where\n  /-- of a field -/\n  x : Nat := sorry\n  deriving Repr",
      "/-- d -/\n@[simp, foo (bar)] private theorem b : 1 = 1 := by\n  sorry",
      null,
      "theorem c : (1 = 1 := by sorry",
      "theorem d : True := sorry",
    ]);
    expect(declarationsOf(text).map(({ keyword, name }) => `${keyword} ${name}`)).toEqual([
      "structure A",
      "theorem b",
      "theorem c",
      "theorem d",
    ]);
  });

  it("are proved with the indentation of the place, up to the first line that leaves the proof", () => {
    const proof = '\n    constructor\n    · simp\n      omega\n\n    exact f "a\n  b"\n  next\n    rfl';
    expect(indentProof(proof, 2)).toBe('constructor\n  · simp\n    omega\n\n  exact f "a\n  b"');
  });
});

describe("tokens", () => {
  it("cover any text but its blanks, in order", () => {
    fc.assert(
      fc.property(source, (text) => {
        let at = 0;
        for (const { start, end, text: piece } of tokensOf(text)) {
          expect(text.slice(at, start).trim()).toBe("");
          expect(piece).toBe(text.slice(start, end));
          expect(end).toBeGreaterThan(start);
          at = end;
        }
        expect(text.slice(at).trim()).toBe("");
      }),
    );
  });

  it("are Lean's: primes, guillemets, nested comments, raw strings, characters", () => {
    const text = `h'.x₁ «a b».2 /- /- -/ -/ r#"a"b"# "\\"" '"' .inl 0x1F 1.5 x!=y a<;>b -- z`;
    expect([...tokensOf(text)].map(({ kind, text }) => `${kind} ${text}`)).toEqual([
      "name h'.x₁",
      "name «a b».2",
      "comment /- /- -/ -/",
      'string r#"a"b"#',
      'string "\\""',
      "character '\"'",
      "name .inl",
      "number 0x1F",
      "number 1.5",
      "name x!",
      "symbol =",
      "name y",
      "name a",
      "symbol <;>",
      "name b",
      "comment -- z",
    ]);
  });

  it("stay without their comments, on the lines of the code", () => {
    expect(withoutComments("  -- plan\n  simp /- why -/ at h -- end\n  /- a\n b -/\n  rfl")).toBe(
      "  simp   at h\n  rfl",
    );
  });
});

describe("positions", () => {
  it("are those that counting gives", () => {
    fc.assert(
      fc.property(source, (text) => {
        const positions = new TextPositions(text);
        const points = [...text];
        let index = 0;
        for (let offset = 0; offset <= points.length; offset++) {
          const before = points.slice(0, offset).join("");
          const lines = before.split("\n");
          expect(positions.offsetOf(index)).toBe(offset);
          expect(positions.indexOf(offset)).toBe(index);
          expect(positions.byteOf(index)).toBe(new TextEncoder().encode(before).length);
          const place = { line: lines.length, column: [...lines[lines.length - 1]].length };
          expect(positions.at(index)).toEqual({ ...place, index });
          expect(positions.of(place.line, place.column)).toBe(index);
          index += (points[offset] ?? "").length;
        }
      }),
    );
  });
});
