/**
 * Every type in an exported signature can be imported: walks the declarations that the package's entries export, as
 * `tsc` emits them, and lists types of ours that stand in them and that no entry exports. Run after `npm run build`.
 */
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { entries } from "./support/entries.ts";

const root = join(fileURLToPath(new URL(".", import.meta.url)), "..");
const program = ts.createProgram(
  entries.map(({ types }) => types),
  {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    skipLibCheck: true,
    noEmit: true,
    types: ["node"],
    lib: ["lib.es2023.d.ts", "lib.esnext.disposable.d.ts", "lib.dom.d.ts"],
  },
);
const checker = program.getTypeChecker();
const resolved = (symbol: ts.Symbol) =>
  symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;

const exported = new Set<ts.Symbol>();
for (const { types } of entries) {
  const file = program.getSourceFile(types);
  const module = file && checker.getSymbolAtLocation(file);
  if (!module) throw new Error(`no declarations at ${types}: run npm run build`);
  for (const symbol of checker.getExportsOfModule(module)) exported.add(resolved(symbol));
}

const TYPES =
  ts.SymbolFlags.Interface | ts.SymbolFlags.TypeAlias | ts.SymbolFlags.Class | ts.SymbolFlags.Enum;
const hidden = new Map<string, Set<string>>();

function visit(node: ts.Node, owner: string): void {
  const name = ts.isTypeReferenceNode(node)
    ? node.typeName
    : ts.isExpressionWithTypeArguments(node)
      ? node.expression
      : ts.isImportTypeNode(node)
        ? node.qualifier
        : undefined;
  const found = name && checker.getSymbolAtLocation(name);
  if (found) {
    const symbol = resolved(found);
    const file = symbol.declarations?.[0]?.getSourceFile().fileName ?? "";
    if (symbol.flags & TYPES && file.startsWith(join(root, "dist")) && !exported.has(symbol)) {
      const key = `${symbol.name} (${relative(join(root, "dist"), file)})`;
      hidden.set(key, (hidden.get(key) ?? new Set()).add(owner));
    }
  }
  ts.forEachChild(node, (child) => {
    const isPrivate =
      ts.canHaveModifiers(child) &&
      ts.getModifiers(child)?.some((m) => m.kind === ts.SyntaxKind.PrivateKeyword);
    if (!isPrivate) visit(child, owner);
  });
}

for (const symbol of exported) {
  for (const declaration of symbol.declarations ?? []) {
    if (declaration.getSourceFile().fileName.startsWith(join(root, "dist"))) visit(declaration, symbol.name);
  }
}
for (const [type, owners] of [...hidden].sort()) {
  console.error(`${type} stands in ${[...owners].sort().join(", ")}, and no entry exports it`);
}
if (hidden.size > 0) process.exit(1);
console.log(`exports: ${exported.size} symbols, all their types can be imported`);
