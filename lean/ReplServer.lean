module
public import Lean.Elab.Command
public meta import Lean.Elab.Command
public import Lean.Data.Json
public meta import Lean.Data.Json
public import Lean.AddDecl
public meta import Init
public meta import Lean.AddDecl
public import Lean.Meta.Basic
public meta import Lean.Meta.Basic
/-!
Proof-checking server for the wasm build of Lean: reads one JSON object per line on stdin and
answers with one JSON object per line on stdout.

A verdict is `ok` only if, in this order: preamble and statement elaborate without error and the statement is one
theorem that the preamble does not declare yet; the answer keeps to the rules of `refuse?` (no code at elaboration
time, no new syntax, axioms, options that matter); it ends in time and without error; it declares the statement's
name as a theorem of the very same type (compared after elaboration, so notation, instances and shadowing do not
help); no axiom but the three standard ones, and no unsafe, partial or opaque constant, lies below it; and the kernel
accepts it and its local dependencies once more on top of the untouched preamble.

Start (src/prove/lean/wasm/prepare.ts and lean-thread.ts do this): once, `lean -R <dir> -o <dir>/ReplServer.olean <dir>/ReplServer.lean`; then
`lean --run Main.lean`, a few lines that import this module and call `replMain`.  Compiling the whole
server at each start would cost 5 s more.

Style notes forced by the wasm build (its data files hold exported parts only, so the code generator
and the interpreter cannot see library internals): everything `public meta`, no polymorphic helpers,
no `while`/`repeat`, no `deriving`, no `Parser.mkInputContext`, no closed-term extraction; plain
first-order recursion and hand-made JSON work.
-/
set_option compiler.extract_closed false
@[expose] public meta section
open Lean Elab

namespace ProofServer

/-! Local list helpers: the library ones do not survive code generation here. -/
def appN : List Name → List Name → List Name
  | [], ys => ys
  | x :: xs, ys => x :: appN xs ys
def appJ : List (String × Json) → List (String × Json) → List (String × Json)
  | [], ys => ys
  | x :: xs, ys => x :: appJ xs ys
def none? : List Name → Bool
  | [] => true
  | _ => false
def sameNames : List Name → List Name → Bool
  | [], [] => true
  | a :: as, b :: bs => a == b && sameNames as bs
  | _, _ => false
def mem (n : Name) : List Name → Bool
  | [] => false
  | x :: xs => x == n || mem n xs

/-- Axioms a finished proof may rest on. -/
def allowedAxioms : List Name := [``propext, ``Classical.choice, ``Quot.sound]

/-- Library constants that must never be reachable from an accepted proof. -/
def bannedConsts : List Name :=
  [``sorryAx, ``Lean.ofReduceBool, ``Lean.ofReduceNat, ``Lean.trustCompiler, ``Lean.reduceBool, ``Lean.reduceNat]

structure Opts where
  heartbeats : Nat := 200000
  /-- when to stop, in milliseconds of the monotonic clock; 0 is never -/
  deadline   : Nat := 0
  tactics    : Bool := false
  strict     : Bool := true
  /-- the preamble may hold macros and other code -/
  trusted    : Bool := false

/-- Commands an answer may consist of when `strict` is on. -/
def allowedCmds : List Name :=
  [`Lean.Parser.Command.declaration, `Lean.Parser.Command.open, `Lean.Parser.Command.namespace,
   `Lean.Parser.Command.end, `Lean.Parser.Command.section, `Lean.Parser.Command.variable,
   `Lean.Parser.Command.universe, `Lean.Parser.Command.set_option, `Lean.Parser.Command.eoi,
   `Lean.Parser.Command.moduleDoc, `Lean.Parser.Command.in, `Lean.Parser.Command.mutual,
   `Lean.Parser.Command.omit, `Lean.Parser.Command.include, `Lean.Parser.Command.attribute]
/-- Kinds of declaration an answer may make.  No inductive types, axioms, opaque constants. -/
def allowedDecls : List Name :=
  [`Lean.Parser.Command.theorem, `Lean.Parser.Command.definition, `Lean.Parser.Command.abbrev,
   `Lean.Parser.Command.example, `Lean.Parser.Command.instance]
/-- What the preamble of a problem may use besides: types and notation of its own, still no code. -/
def preambleCmds : List Name :=
  [`Lean.Parser.Command.notation, `Lean.Parser.Command.mixfix]
def preambleDecls : List Name :=
  [`Lean.Parser.Command.inductive, `Lean.Parser.Command.structure, `Lean.Parser.Command.classInductive]
/-- Syntax that runs code at elaboration time, or leaves the kernel's reach. -/
def bannedSyntax : List Name :=
  [`Lean.Parser.Command.unsafe, `Lean.Parser.Command.partial, `Lean.Parser.Command.meta,
   `Lean.Parser.Command.private, `Lean.Parser.Command.optDefDeriving, `Lean.Parser.Command.deriving,
   `Lean.Parser.Term.unsafe]
/-- The same by its words, whatever the syntax kind is called. -/
def bannedTokens : List String :=
  ["run_tac", "run_cmd", "run_meta", "run_elab", "by_elab", "include_str", "native_decide", "bv_decide", "bv_check",
   "unsafe", "partial", "meta", "private", "sleep", "dbg_trace", "initialize", "builtin_initialize", "private_decl%", "with_decl_name%"]
/-- Identifiers with such a last component reach the compiler or an axiom. -/
def bannedIdents : List String :=
  ["sorryAx", "ofReduceBool", "ofReduceNat", "reduceBool", "reduceNat", "trustCompiler", "lcProof", "lcUnreachable", "native"]
/-- Attributes an answer may use; the others change how code or terms are compiled or elaborated. -/
def allowedAttrs : List String :=
  ["simp", "grind", "ext", "reducible", "irreducible", "inline", "instance", "local", "scoped", "elab_as_elim",
   "refl", "symm", "trans", "congr"]
/-- The only options an answer may set. -/
def allowedOptions : List Name := [`maxHeartbeats, `maxRecDepth, `linter.all, `linter.unusedVariables, `synthInstance.maxHeartbeats, `synthInstance.maxSize]
/-- What the value in `(config := ...)` may be made of: the elaborator evaluates it, so no calls. -/
def configKinds : List Name :=
  [`null, `num, `hygieneInfo, `Lean.Parser.Term.structInst, `Lean.Parser.Term.structInstFields, `Lean.Parser.Term.structInstField,
   `Lean.Parser.Term.structInstLVal, `Lean.Parser.Term.structInstFieldDef, `Lean.Parser.Term.optEllipsis]
def memS (n : String) : List String → Bool
  | [] => false
  | x :: xs => x == n || memS n xs

def mkCtx (src : String) : Parser.InputContext :=
  { inputString := src, fileName := "<snippet>", fileMap := FileMap.ofString src }

/-- Fresh command state over `env`: declarations are public, so names stay unmangled; no auto-bound
implicits, or a misspelt type such as `Real` would quietly become a universally quantified variable. -/
def mkState (env : Environment) (o : Opts) : Command.State :=
  let opts : Options := ({} : Options)
    |>.setNat `maxHeartbeats o.heartbeats
    |>.setBool `Elab.async false
    |>.setBool `autoImplicit false
    |>.setBool `relaxedAutoImplicit false
  let st := Command.mkState env {} opts
  { st with
    scopes := [{ header := "", opts := opts, isPublic := true }]
    infoState := { st.infoState with enabled := true } }

/-- First word of an attribute such as `simp ↓` or `local grind =`. -/
partial def firstAtom (s : Syntax) : String :=
  match s with
  | .atom _ v => v.trimAscii.toString
  | .ident _ _ n _ => n.toString
  | .node _ _ a => go a 0
  | .missing => ""
where
  go (a : Array Syntax) (i : Nat) : String :=
    if h : i < a.size then
      let t := firstAtom a[i]
      if t == "" then go a (i + 1) else t
    else ""

def optName (a : Array Syntax) : Name :=
  if h : 1 < a.size then a[1].getId else Name.anonymous

def lastPart : Name → String
  | .str _ s => s
  | _ => ""

mutual
/-- First piece of a configuration value that is not a plain literal. -/
partial def notLiteral? (s : Syntax) : Option String :=
  match s with
  | .node _ k args =>
    if k == `Lean.Parser.Term.structInstLVal then none
    else if mem k configKinds then notLiteralIn? args 0
    else some ("configuration value not allowed: " ++ k.toString)
  | .ident _ _ n _ => if n == `true || n == `false then none else some ("configuration value not allowed: " ++ n.toString)
  | _ => none
partial def notLiteralIn? (a : Array Syntax) (i : Nat) : Option String :=
  if h : i < a.size then
    match notLiteral? a[i] with
    | some e => some e
    | none => notLiteralIn? a (i + 1)
  else none
end

mutual
/-- First banned piece of syntax in `s`, if any.  `decls`: kinds of declaration allowed anywhere inside. -/
partial def banned? (decls : List Name) (s : Syntax) : Option String :=
  match s with
  | .node _ k args =>
    if mem k bannedSyntax then some ("syntax not allowed: " ++ k.toString)
    else if (k == `Lean.Parser.Command.set_option || k == `Lean.Parser.Term.set_option || k == `Lean.Parser.Tactic.set_option)
        && !(mem (optName args) allowedOptions) then some ("option not allowed: " ++ (optName args).toString)
    else if k == `Lean.Parser.Command.declaration && !(mem s[1].getKind decls) then
      some ("declaration not allowed: " ++ s[1].getKind.toString)
    else if k == `Lean.Parser.Term.attrInstance && !(memS (firstAtom s[1]) allowedAttrs) then
      some ("attribute not allowed: " ++ firstAtom s[1])
    else if k == `Lean.Parser.Command.declId && (lastPart s[0].getId == "true" || lastPart s[0].getId == "false") then
      some "declarations may not be called true or false"
    else if k == `Lean.Parser.Tactic.valConfigItem || k == `Lean.Parser.Tactic.config then
      match notLiteral? s[3] with
      | some e => some e
      | none => bannedIn? decls args 0
    else bannedIn? decls args 0
  | .atom _ v =>
    let t := v.trimAscii.toString
    if memS t bannedTokens then some ("word not allowed: " ++ t) else none
  | .ident _ _ n _ => if memS (lastPart n) bannedIdents then some ("name not allowed: " ++ n.toString) else none
  | .missing => none
partial def bannedIn? (decls : List Name) (a : Array Syntax) (i : Nat) : Option String :=
  if h : i < a.size then
    match banned? decls a[i] with
    | some e => some e
    | none => bannedIn? decls a (i + 1)
  else none
end

partial def firstBanned (decls : List Name) (a : Array Syntax) (i : Nat) : Option Syntax :=
  if h : i < a.size then
    match banned? decls a[i] with
    | some _ => some a[i]
    | none => firstBanned decls a (i + 1)
  else none
/-- Where the innermost banned piece begins. -/
partial def breachPos (decls : List Name) (s : Syntax) : Option String.Pos.Raw :=
  match s with
  | .node _ _ a => match firstBanned decls a 0 with
    | some c => breachPos decls c
    | none => s.getPos? true
  | _ => s.getPos? true

/-- `cmds`, `decls`: what is allowed.  `a in b` and `mutual` are looked into. -/
partial def refuse? (cmds decls : List Name) (cmd : Syntax) : Option String :=
  let k := cmd.getKind
  if !(mem k cmds) then some ("command not allowed: " ++ k.toString)
  else if k == `Lean.Parser.Command.in then
    match refuse? cmds decls cmd[0] with
    | some e => some e
    | none => refuse? cmds decls cmd[2]
  else banned? decls cmd

/-- Which rules a snippet is held to.  A number and not a function: closures over functions of this module
do not run in the interpreter (their boxed twins are not in the data file). -/
inductive Rules where
  | none | answer | preamble | statement

/-- Why `s` is refused under `rules`, if it is.  A statement is one theorem command, nothing else. -/
def ruleBreach? (rules : Rules) (s : Syntax) : Option String :=
  match rules with
  | .none => none
  | .answer => refuse? allowedCmds allowedDecls s
  | .preamble => refuse? (appN preambleCmds allowedCmds) (appN preambleDecls allowedDecls) s
  | .statement =>
    let k := s.getKind
    if k == `Lean.Parser.Command.eoi then none
    else if k == `Lean.Parser.Command.declaration && s[1].getKind == `Lean.Parser.Command.theorem then
      refuse? allowedCmds allowedDecls s
    else some ("the statement must be one theorem, found: " ++ k.toString)

/-- A theorem command, by the name that it declares. -/
structure Thm where
  name : Name
  b : String.Pos.Raw
  e : String.Pos.Raw

/-- What elaborating a snippet produced. -/
structure Run where
  st    : Command.State
  msgs  : List Message := []
  trees : Array InfoTree := #[]
  stxs  : Array Syntax := #[]
  thms  : Array Thm := #[]
  cancelled : Bool := false
  refused : Option String := none
  refusedAt : Option String.Pos.Raw := none

def appM : List Message → List Message → List Message
  | [], ys => ys
  | x :: xs, ys => x :: appM xs ys

mutual
partial def pushNode (t : PersistentArrayNode InfoTree) (acc : Array InfoTree) : Array InfoTree :=
  match t with
  | .leaf a => pushLeaf a 0 acc
  | .node a => pushNodes a 0 acc
partial def pushNodes (a : Array (PersistentArrayNode InfoTree)) (i : Nat) (acc : Array InfoTree) : Array InfoTree :=
  if h : i < a.size then pushNodes a (i + 1) (pushNode a[i] acc) else acc
partial def pushLeaf (a : Array InfoTree) (i : Nat) (acc : Array InfoTree) : Array InfoTree :=
  if h : i < a.size then pushLeaf a (i + 1) (acc.push a[i]) else acc
end
def pushTrees (ts : PersistentArray InfoTree) (acc : Array InfoTree) : Array InfoTree :=
  pushLeaf ts.tail 0 (pushNode ts.root acc)

mutual
/-- The theorems that a command declares in namespace `ns`. -/
partial def thmsOf (ns : Name) (s : Syntax) (acc : Array Thm) : Array Thm :=
  let k := s.getKind
  if k == `Lean.Parser.Command.in then thmsOf ns s[2] acc
  else if k == `Lean.Parser.Command.mutual then thmsIn ns s[1].getArgs 0 acc
  else if k == `Lean.Parser.Command.declaration && s[1].getKind == `Lean.Parser.Command.theorem then
    match s.getPos? true, s.getTailPos? true with
    | some b, some e =>
      let id := s[1][1][0].getId
      let n := if Name.isPrefixOf `_root_ id then id.replacePrefix `_root_ Name.anonymous else ns ++ id
      acc.push { name := n, b := b, e := e }
    | _, _ => acc
  else acc
partial def thmsIn (ns : Name) (a : Array Syntax) (i : Nat) (acc : Array Thm) : Array Thm :=
  if h : i < a.size then thmsIn ns a (i + 1) (thmsOf ns a[i] acc) else acc
end

/-- Elaborates the commands of `ictx` one after the other.  `elabCommandTopLevel` starts each command
with an empty message log and no info trees, so both are gathered here. -/
partial def runCmds (ictx : Parser.InputContext) (rules : Rules) (tk : IO.CancelToken) (ps : Parser.ModuleParserState)
    (r : Run) : IO Run := do
  match r.st.scopes with
  | [] => return r
  | scope :: _ =>
    let pctx : Parser.ParserModuleContext :=
      { env := r.st.env, options := scope.opts, currNamespace := scope.currNamespace, openDecls := scope.openDecls }
    let (cmd, ps', parseLog) := Parser.parseCommand ictx pctx ps {}
    let ctx : Command.Context :=
      { fileName := ictx.fileName, fileMap := ictx.fileMap, cmdPos := ps.pos, snap? := none, cancelTk? := some tk }
    match ruleBreach? rules cmd with
    | some e => return { r with refused := some e, refusedAt := breachPos allowedDecls cmd, msgs := appM r.msgs parseLog.toList }
    | none =>
    let st0 := { r.st with messages := {} }
    match ← ((Command.elabCommandTopLevel cmd ctx).run st0).toBaseIO with
    | .error _ => -- only interruption gets here; elaboration errors are logged as messages
      return { r with cancelled := true, msgs := appM r.msgs parseLog.toList }
    | .ok (_, st) =>
    let r := { r with
      st := st
      stxs := r.stxs.push cmd
      thms := thmsOf scope.currNamespace cmd r.thms
      msgs := appM r.msgs (appM parseLog.toList st.messages.toList)
      trees := pushTrees st.infoState.substituteLazy.get.trees r.trees }
    if Parser.isTerminalCommand cmd then return r
    if ← tk.isSet then return { r with cancelled := true }
    runCmds ictx rules tk ps' r

/-- Deadline (monotonic milliseconds) and token of the check in progress.  One thread, started by
`Main.lean`, watches it: a thread per check would leak, because the wasm main thread never gets back to
its event loop to reap finished workers (about 200 MB each). -/
abbrev Slot := IO.Ref (Nat × Option IO.CancelToken)

/-- Runs `src` from state `st0` with the limits of `o`. -/
def elabFrom (slot : Slot) (st0 : Command.State) (o : Opts) (rules : Rules) (src : String) : IO Run := do
  let tk ← IO.CancelToken.new
  if o.deadline > 0 then slot.set (o.deadline, some tk)
  let r ← runCmds (mkCtx src) rules tk {} { st := st0 }
  slot.set (0, none)
  return r

/-- The state after a preamble, for the next item: messages and info trees dropped, limits set anew. -/
def restart (st : Command.State) (o : Opts) : Command.State :=
  let scopes := match st.scopes with
    | [] => []
    | s :: ss => { s with opts := s.opts.setNat `maxHeartbeats o.heartbeats } :: ss
  { st with messages := {}, infoState := { enabled := true }, scopes := scopes }

def jpos (p : Position) : Json := Json.mkObj [("line", .num p.line), ("column", .num p.column)]

def sevName : MessageSeverity → String
  | .information => "info" | .warning => "warning" | .error => "error"

def jmsgs (fm : FileMap) : List Message → Array Json → IO (Array Json)
  | [], a => pure a
  | m :: ms, a => do
    let txt ← m.data.toString
    let e := match m.endPos with | some p => jpos p | none => Json.null
    jmsgs fm ms (a.push (Json.mkObj
      [("severity", .str (sevName m.severity)), ("kind", .str m.data.kind.toString), ("pos", jpos m.pos), ("endPos", e),
       ("offset", .num (fm.ofPosition m.pos).byteIdx), ("data", .str txt)]))

/-- Some declaration of the snippet was closed with `sorry` (or a tactic that admits goals). -/
def hasSorry : List Message → Bool
  | [] => false
  | m :: ms => m.data.kind == `hasSorry || hasSorry ms

def hasErr : List Message → Bool
  | [] => false
  | m :: ms => (match m.severity with | .error => true | _ => false) || hasErr ms

/-- `FileMap` columns count code points; `offset` counts UTF-8 bytes. -/
def jspan (fm : FileMap) (b e : String.Pos.Raw) : List (String × Json) :=
  [("pos", jpos (fm.toPosition b)), ("endPos", jpos (fm.toPosition e)), ("offset", .num b.byteIdx), ("endOffset", .num e.byteIdx)]

/-- One tactic of a tactic sequence: the pieces a proof is cut into. -/
structure Step where
  b : String.Pos.Raw
  e : String.Pos.Raw
  kind : Name
  depth : Nat
  info : Option (Array Json × Array Json) := none

mutual
/-- Steps in source order.  `depth` counts the enclosing steps (bullets, cases, nested `by`). -/
partial def stepsOf (s : Syntax) (depth : Nat) (acc : Array Step) : Array Step :=
  match s with
  | .node _ k args =>
    if k == `Lean.Parser.Tactic.tacticSeq1Indented then stepsSeq s[0].getArgs 0 depth acc
    else if k == `Lean.Parser.Tactic.tacticSeqBracketed then stepsSeq s[1].getArgs 0 depth acc
    else stepsArr args 0 depth acc
  | _ => acc
partial def stepsArr (a : Array Syntax) (i : Nat) (depth : Nat) (acc : Array Step) : Array Step :=
  if h : i < a.size then stepsArr a (i + 1) depth (stepsOf a[i] depth acc) else acc
partial def stepsSeq (a : Array Syntax) (i : Nat) (depth : Nat) (acc : Array Step) : Array Step :=
  if h : i < a.size then
    let t := a[i]
    let acc := match t.getPos? true, t.getTailPos? true with
      | some b, some e => stepsOf t (depth + 1) (acc.push { b := b, e := e, kind := t.getKind, depth := depth })
      | _, _ => acc
    stepsSeq a (i + 2) depth acc
  else acc
end

mutual
/-- Spans of `sorry`, `admit` and `stop`. -/
partial def sorriesOf (s : Syntax) (acc : Array Step) : Array Step :=
  match s with
  | .node _ k args =>
    if k == `Lean.Parser.Term.sorry || k == `Lean.Parser.Tactic.tacticSorry || k == `Lean.Parser.Tactic.tacticAdmit
        || k == `Lean.Parser.Tactic.tacticStop_ then
      match s.getPos? true, s.getTailPos? true with
      | some b, some e => acc.push { b := b, e := e, kind := k, depth := 0 }
      | _, _ => acc
    else sorriesArr args 0 acc
  | _ => acc
partial def sorriesArr (a : Array Syntax) (i : Nat) (acc : Array Step) : Array Step :=
  if h : i < a.size then sorriesArr a (i + 1) (sorriesOf a[i] acc) else acc
end
partial def jsorries (fm : FileMap) (a : Array Step) (i : Nat) (acc : Array Json) : Array Json :=
  if h : i < a.size then
    jsorries fm a (i + 1) (acc.push (Json.mkObj (("kind", .str a[i].kind.toString) :: jspan fm a[i].b a[i].e)))
  else acc

/-- Index of the step with this span that has no goals yet. -/
partial def findStep (a : Array Step) (b e : String.Pos.Raw) (k : Name) (i : Nat) : Option Nat :=
  if h : i < a.size then
    let t := a[i]
    if t.b == b && t.e == e && t.kind == k && t.info.isNone then some i else findStep a b e k (i + 1)
  else none

/-- One text per goal.  `ppGoals` puts a line break before each. -/
def goalTexts (c : ContextInfo) (gs : List MVarId) (acc : Array Json) : IO (Array Json) := do
  match gs with
  | [] => return acc
  | g :: rest =>
    let f ← c.ppGoals [g]
    goalTexts c rest (acc.push (.str f.pretty.trimAscii.toString))

mutual
/-- Fills in the goals before and after each step from the info trees. -/
partial def walk (c? : Option ContextInfo) (t : InfoTree) (acc : Array Step) : IO (Array Step) := do
  match t with
  | .context pc t' => walk (pc.mergeIntoOuter? c?) t' acc
  | .hole _ => return acc
  | .node i cs =>
    let acc ← match i, c? with
      | .ofTacticInfo ti, some c =>
        match ti.stx.getPos? true, ti.stx.getTailPos? true with
        | some b, some e =>
          match findStep acc b e ti.stx.getKind 0 with
          | some k =>
            let before ← goalTexts { c with mctx := ti.mctxBefore } ti.goalsBefore #[]
            let after ← goalTexts { c with mctx := ti.mctxAfter } ti.goalsAfter #[]
            if h : k < acc.size then pure (acc.set k { acc[k] with info := some (before, after) }) else pure acc
          | none => pure acc
        | _, _ => pure acc
      | _, _ => pure acc
    walkArr c? (pushTrees cs #[]) 0 acc
partial def walkArr (c? : Option ContextInfo) (a : Array InfoTree) (i : Nat) (acc : Array Step) : IO (Array Step) := do
  if h : i < a.size then walkArr c? a (i + 1) (← walk c? a[i] acc) else return acc
end

partial def jsteps (fm : FileMap) (a : Array Step) (i : Nat) (acc : Array Json) : Array Json :=
  if h : i < a.size then
    let t := a[i]
    let goals := match t.info with
      | some (b, e) => [("goalsBefore", Json.arr b), ("goalsAfter", Json.arr e)]
      | none => [("goalsBefore", Json.null), ("goalsAfter", Json.null)]
    jsteps fm a (i + 1) (acc.push (Json.mkObj (appJ (jspan fm t.b t.e)
      (("kind", .str t.kind.toString) :: ("depth", .num t.depth) :: goals))))
  else acc

structure Reach where
  seen : NameSet := {}
  lib  : List Name := []
  /-- local axioms, inductives, unsafe or partial definitions -/
  bad  : List Name := []

def nameStr (n : Name) : String := n.toString

def consts (e : Expr) : Array Name := e.getUsedConstants

/-- Pushes `a[i..]` on `l`. -/
partial def pushAll (a : Array Name) (i : Nat) (l : List Name) : List Name :=
  if h : i < a.size then pushAll a (i + 1) (a[i] :: l) else l

def valueOf : ConstantInfo → Option Expr
  | .thmInfo v => some v.value
  | .defnInfo v => some v.value
  | .opaqueInfo v => some v.value
  | _ => none

/-- Walks from the names in `todo` through local constants; library constants are recorded, not entered.
Types of the preamble (in `base`, inductive) are accepted as they are: the preamble belongs to the problem. -/
partial def reach (base env : Environment) (todo : List Name) (r : Reach) : Reach :=
  match todo with
  | [] => r
  | n :: rest =>
    if r.seen.contains n then reach base env rest r else
    let r := { r with seen := r.seen.insert n }
    match env.getModuleIdxFor? n with
    | some _ => reach base env rest { r with lib := n :: r.lib }
    | none =>
      match env.find? n with
      | none => reach base env rest { r with bad := n :: r.bad }
      | some ci =>
        match valueOf ci with
        | none =>
          let ok := match base.find? n, ci with
            | some _, .inductInfo _ => true
            | some _, .ctorInfo _ => true
            | some _, .recInfo _ => true
            | _, _ => false
          reach base env (pushAll (consts ci.type) 0 rest) (if ok then r else { r with bad := n :: r.bad })
        | some v =>
          if ci.isUnsafe || ci.isPartial then reach base env rest { r with bad := n :: r.bad } else
          reach base env (pushAll (consts ci.type) 0 (pushAll (consts v) 0 rest)) r

/-- The library constants in the list that really are axioms.  Data files keep theorems and unexposed
definitions without a body, which then look like axioms, so the recorded original kind decides. -/
def libAxioms (env : Environment) : List Name → List Name
  | [] => []
  | n :: ns => match env.find? n with
    | some (.axiomInfo _) => match getOriginalConstKind? env n with
      | some .axiom => n :: libAxioms env ns
      | some _ => libAxioms env ns
      | none => n :: libAxioms env ns
    | _ => libAxioms env ns

def notAllowed : List Name → List Name
  | [] => []
  | n :: ns => if mem n allowedAxioms then notAllowed ns else n :: notAllowed ns
def onlyBanned : List Name → List Name
  | [] => []
  | n :: ns => if mem n bannedConsts then n :: onlyBanned ns else onlyBanned ns

/-- Axioms below `target`, and those (plus other unacceptable constants) that sink the answer. -/
def axiomReport (base env : Environment) (target : Name) : List Name × List Name :=
  let r := reach base env [target] {}
  let la := libAxioms env r.lib
  (la, appN (notAllowed la) (appN r.bad (onlyBanned r.lib)))

/-- Verdict if Lean's own limit ends the work of the kernel. -/
def spent : String := "heartbeats"

/-- Re-checks `n` and the local constants below it with the kernel, on top of the untouched `base`. -/
partial def replay (cand : Environment) (tk : IO.CancelToken) (hb : USize) (todo : List (Name × Bool)) (done : NameSet) (base : Environment) :
    Except String Environment :=
  match todo with
  | [] => .ok base
  | (n, ready) :: rest =>
    if done.contains n then replay cand tk hb rest done base else
    match (if ready then none else base.find? n) with
    | some _ => replay cand tk hb rest done base
    | none =>
      match cand.find? n with
      | none => .error ("missing " ++ nameStr n)
      | some ci =>
        match valueOf ci with
        | none => .error ("not replayable: " ++ nameStr n)
        | some v =>
          if !ready then
            let deps := pushAll (consts ci.type) 0 (pushAll (consts v) 0 [])
            replay cand tk hb (addTodo deps ((n, true) :: rest)) done base
          else
            let d : Option Declaration := match ci with
              | .thmInfo v => some (.thmDecl v)
              | .defnInfo v => some (.defnDecl v)
              | .opaqueInfo v => some (.opaqueDecl v)
              | _ => none
            match d with
            | none => .error ("not replayable: " ++ nameStr n)
            | some d =>
              match base.addDeclCore hb d (some tk) with
              | .ok base => replay cand tk hb rest (done.insert n) base
              | .error .deterministicTimeout => .error spent
              | .error _ => .error ("kernel rejects " ++ nameStr n)
where
  addTodo : List Name → List (Name × Bool) → List (Name × Bool)
    | [], r => r
    | n :: ns, r => (n, false) :: addTodo ns r

def sameLevels : List Level → List Level → Bool
  | [], [] => true
  | a :: as, b :: bs => a == b && sameLevels as bs
  | _, _ => false

mutual
/-- Equality of two expressions that live in different environments over the same `base`.  Constants of `base` must be
the same; those made on the way (matchers, auxiliary lemmas) must have equal contents, whatever their names: Lean shares
them, so `t.match_1` of the statement may be `helper.match_1` in an answer with a helper before it. -/
partial def eqE (base ra ca : Environment) (x y : Expr) : Bool :=
  match x, y with
  | .const n us, .const m vs => sameLevels us vs && (match base.find? n, base.find? m with
    | none, none => eqC base ra ca n m
    | _, _ => n == m)
  | .app f a, .app g b => eqE base ra ca f g && eqE base ra ca a b
  | .lam _ t b _, .lam _ u c _ => eqE base ra ca t u && eqE base ra ca b c
  | .forallE _ t b _, .forallE _ u c _ => eqE base ra ca t u && eqE base ra ca b c
  | .letE _ t v b _, .letE _ u w c _ => eqE base ra ca t u && eqE base ra ca v w && eqE base ra ca b c
  | .mdata _ a, .mdata _ b => eqE base ra ca a b
  | .proj n i a, .proj m j b => n == m && i == j && eqE base ra ca a b
  | a, b => a == b
/-- `n` of `ra` and `m` of `ca`: definitions of equal type and value, or theorems of equal type. -/
partial def eqC (base ra ca : Environment) (n m : Name) : Bool :=
  match ra.find? n, ca.find? m with
  | some (.defnInfo a), some (.defnInfo b) => sameNames a.levelParams b.levelParams && eqE base ra ca a.type b.type && eqE base ra ca a.value b.value
  | some (.thmInfo a), some (.thmInfo b) => sameNames a.levelParams b.levelParams && eqE base ra ca a.type b.type
  | _, _ => false
end

def jname1 : List Name → Array Json → Array Json
  | [], a => a
  | n :: ns, a => jname1 ns (a.push (.str (nameStr n)))
def jnames (ns : List Name) : Json := .arr (jname1 ns #[])

/-- Each theorem with its axioms. What the file declares itself belongs to it, inductive types too, so the file's own
environment stands for the preamble. -/
partial def jthms (env : Environment) (fm : FileMap) (a : Array Thm) (i : Nat) (acc : Array Json) : Array Json :=
  if h : i < a.size then
    let t := a[i]
    let n := if env.contains t.name then t.name else mkPrivateName env t.name
    let found := match env.find? n with
      | some (.thmInfo _) => true
      | _ => false
    let (ax, bad) := if found then axiomReport env env n else ([], [])
    jthms env fm a (i + 1) (acc.push (Json.mkObj (appJ (jspan fm t.b t.e)
      [("name", .str (nameStr t.name)), ("found", .bool found), ("axioms", jnames ax), ("badAxioms", jnames bad)])))
  else acc

/-- A preamble already elaborated over environment `env`. -/
structure Pre where
  env : Nat
  text : String
  strict : Bool
  trusted : Bool
  run : Run
structure Store where
  envs : Array Environment := #[]
  pres : List Pre := []

def getStr (j : Json) (k : String) (d : String) : String := match j.getObjVal? k with
  | .ok (.str s) => s | _ => d
def getNat (j : Json) (k : String) (d : Nat) : Nat := match j.getObjVal? k with
  | .ok v => match v.getNat? with | .ok n => n | .error _ => d
  | .error _ => d
def getBool (j : Json) (k : String) (d : Bool) : Bool := match j.getObjVal? k with
  | .ok (.bool b) => b | _ => d
def getArr (j : Json) (k : String) : List String := match j.getObjVal? k with
  | .ok (.arr a) => strs a 0
  | _ => []
where
  strs (a : Array Json) (i : Nat) : List String :=
    if h : i < a.size then
      match a[i] with
      | .str s => s :: strs a (i + 1)
      | _ => strs a (i + 1)
    else []

def toName (s : String) : Name := go Name.anonymous (s.splitOn ".")
where
  go (n : Name) : List String → Name
    | [] => n
    | p :: ps => go (Name.str n p) ps

def imps : List String → Array Import → Array Import
  | [], a => a
  | m :: ms, a => imps ms (a.push { module := toName m })

/-- `leakEnv` marks the environment persistent, as the command line does: no reference counting, and
lemmas about imported constants can be generated on demand. -/
def importEnv (mods : List String) : IO Environment :=
  importModules (imps mods #[]) {} (trustLevel := 0) (leakEnv := true) (loadExts := true) (level := .exported)

def findPre (env : Nat) (text : String) (o : Opts) : List Pre → Option Run
  | [] => none
  | p :: ps =>
    if p.env == env && p.text == text && p.strict == o.strict && p.trusted == o.trusted then some p.run else findPre env text o ps
def takeP : Nat → List Pre → List Pre
  | 0, _ => []
  | _, [] => []
  | n + 1, p :: ps => p :: takeP n ps

/-- What stands before every preamble.  The environment is a module, where definitions are opaque to exported
theorems unless exposed; ordinary Lean files know no such difference.  Definitions of an answer are not meant
to run, and many library functions cannot be compiled against here: `noncomputable` silences those errors. -/
def prelude (o : Opts) : String :=
  if o.strict then "@[expose] public noncomputable section" else "@[expose] public section"

/-- State after the preamble, remembered for the last eight preambles. -/
def preamble (slot : Slot) (store : IO.Ref Store) (k : Nat) (env : Environment) (o : Opts) (text : String) : IO Run := do
  match findPre k text o (← store.get).pres with
  | some r => return r
  | none =>
    let p ← elabFrom slot (mkState env o) o .none (prelude o)
    let r ← elabFrom slot (restart p.st o) o (if o.strict && !o.trusted then .preamble else .none) text
    if r.cancelled then return r
    let r := { r with trees := #[], stxs := #[] }
    let s ← store.get
    store.set { s with pres := { env := k, text := text, strict := o.strict, trusted := o.trusted, run := r } :: takeP 7 s.pres }
    return r

def outOf (o : Opts) (src : String) (run : Run) : IO (List (String × Json)) := do
  let fm := FileMap.ofString src
  let jm ← jmsgs fm run.msgs #[]
  let ok := !hasErr run.msgs && !run.refused.isSome && !run.cancelled
  let out : List (String × Json) := [("messages", .arr jm), ("canceled", .bool run.cancelled),
    ("complete", .bool (ok && !hasSorry run.msgs)), ("sorries", .arr (jsorries fm (sorriesArr run.stxs 0 #[]) 0 #[]))]
  let out := match run.refused with
    | some e => appJ out [("refused", .str e), ("refusedOffset", match run.refusedAt with | some p => .num p.byteIdx | none => .null)]
    | none => out
  if o.tactics then
    let steps ← walkArr none run.trees 0 (stepsArr run.stxs 0 0 #[])
    return appJ out [("steps", .arr (jsteps fm steps 0 #[]))]
  return out

/-- Verdict on a finished proof; the order of the checks stands at the head of this file. -/
def judge (slot : Slot) (o : Opts) (pre ref run : Run) (target : Name) : IO (String × List Name × List Name) := do
  let base := pre.st.env
  if ref.cancelled then return ("timeout", [], []) else
  if ref.refused.isSome || hasErr ref.msgs then return ("bad statement", [], []) else
  if ref.stxs.size != 2 && ref.stxs.size != 1 then return ("bad statement", [], []) else
  if base.contains target then return ("bad statement", [], []) else
  match run.refused with
  | some _ => return ("refused", [], [])
  | none =>
  if run.cancelled then return ("timeout", [], []) else
  if hasErr run.msgs then return ("error", [], []) else
  match ref.st.env.find? target, run.st.env.find? target with
  | none, _ => return ("bad statement", [], [])
  | _, none => return ("missing", [], [])
  | some rc, some cc =>
    match rc, cc with
    | .thmInfo _, .thmInfo _ =>
      if !(sameNames rc.levelParams cc.levelParams && eqE base ref.st.env run.st.env rc.type cc.type) then
        return ("changed statement", [], [])
      else
        let (ax, bad) := axiomReport base run.st.env target
        if !none? bad then return ("forbidden axiom", ax, bad) else
        let tk ← IO.CancelToken.new
        if o.deadline > 0 then slot.set (o.deadline, some tk)
        let hb := if o.heartbeats > 4000000 then 4000000 else o.heartbeats
        let res := replay run.st.env tk (hb * 1000).toUSize [(target, false)] {} base
        let v ← match res with
          | .error e => if ← tk.isSet then pure "timeout" else if e == spent then pure spent else pure ("kernel: " ++ e)
          | .ok env => pure (match env.find? target with
            | some fc => if fc.type == cc.type then "ok" else "kernel: type differs"
            | none => "kernel: missing")
        slot.set (0, none)
        return (v, ax, bad)
    | _, _ => return ("changed statement", [], [])

/-- Full name of the theorem that the statement declares. -/
def targetOf (st : Command.State) (stxs : Array Syntax) : Name :=
  if h : 0 < stxs.size then
    let n := stxs[0][1][1][0].getId
    match st.scopes with
    | sc :: _ => sc.currNamespace ++ n
    | [] => n
  else Name.anonymous

/-- A file that is audited may hold what a preamble may, and code of its own if it is trusted. -/
def rulesOf (op : String) (o : Opts) : Rules :=
  if !o.strict then .none
  else if op == "audit" then (if o.trusted then .none else .preamble)
  else .answer

def handle (slot : Slot) (store : IO.Ref Store) (j : Json) : IO Json := do
  let op := getStr j "op" "check"
  let limit := getNat j "timeoutMs" 0
  let now ← IO.monoMsNow
  let deadline := if limit > 0 then now + limit else 0
  let o : Opts := { heartbeats := getNat j "maxHeartbeats" 200000, deadline := deadline, tactics := getBool j "allTactics" false, strict := getBool j "strict" true, trusted := getBool j "trustedPreamble" false }
  match op with
  | "ping" => return Json.mkObj [("pong", .bool true)]
  | "import" =>
    let env ← importEnv (getArr j "modules")
    let s ← store.get
    let k := s.envs.size
    store.set { s with envs := s.envs.push env }
    return Json.mkObj [("env", .num k)]
  | _ =>
    let k := getNat j "env" 0
    match (← store.get).envs[k]? with
    | none => return Json.mkObj [("error", .str "unknown environment")]
    | some env =>
    let src := getStr j "code" ""
    let pre ← preamble slot store k env o (getStr j "preamble" "")
    if pre.refused.isSome || pre.cancelled || hasErr pre.msgs then
      let out ← outOf { o with tactics := false } "" pre
      return Json.mkObj (appJ out [("verdict", .str (if pre.cancelled then "timeout" else "bad preamble")), ("pass", .bool false)])
    let st0 := restart pre.st o
    let run ← elabFrom slot st0 o (rulesOf op o) src
    let out ← outOf o src run
    match op with
    | "audit" => return Json.mkObj (appJ out [("theorems", .arr (jthms run.st.env (FileMap.ofString src) run.thms 0 #[]))])
    | "verify" =>
      let ref ← elabFrom slot st0 o .statement (getStr j "statement" "")
      let target := targetOf st0 ref.stxs
      let (verdict, ax, bad) ← judge slot o pre ref run target
      let sm ← jmsgs (FileMap.ofString (getStr j "statement" "")) ref.msgs #[]
      let out := if verdict == "bad statement" then appJ out [("statementMessages", .arr sm),
          ("statementRefused", match ref.refused with | some e => .str e | none => .null)] else out
      return Json.mkObj (appJ out [("name", .str target.toString), ("axioms", jnames ax), ("badAxioms", jnames bad), ("verdict", .str verdict), ("pass", .bool (verdict == "ok"))])
    | "check" =>
      let ok := !hasErr run.msgs && !run.refused.isSome && !run.cancelled
      return Json.mkObj (appJ out [("pass", .bool ok)])
    | _ => return Json.mkObj [("error", .str ("unknown op " ++ op))]

partial def serve (slot : Slot) (store : IO.Ref Store) (inp out : IO.FS.Stream) : IO Unit := do
  let line ← inp.getLine
  if line.isEmpty then return ()
  let t0 ← IO.monoMsNow
  let (id, ans) ← match Json.parse line with
    | .error e => pure (Json.null, Json.mkObj [("error", .str ("bad JSON: " ++ e))])
    | .ok j =>
      let id := (j.getObjVal? "id").toOption.getD Json.null
      let a ← try handle slot store j catch e => pure (Json.mkObj [("error", .str e.toString)])
      pure (id, a)
  let t1 ← IO.monoMsNow
  out.putStrLn (((ans.setObjVal! "ms" (.num (t1 - t0))).setObjVal! "id" id).compress)
  out.flush
  serve slot store inp out

end ProofServer

open ProofServer in
def replMain (slot : Slot) : IO Unit := do
  let t0 ← IO.monoMsNow
  let env ← importEnv ["Init"]
  let store ← IO.mkRef ({ envs := #[env] } : Store)
  let t1 ← IO.monoMsNow
  let out ← IO.getStdout
  out.putStrLn (Json.mkObj [("ready", .bool true), ("importMs", .num (t1 - t0)), ("isModule", .bool env.header.isModule)]).compress
  out.flush
  serve slot store (← IO.getStdin) out

end
