/**
 * Where layers declare their parameters. A layer's constructor takes a scope and asks it for what the layer needs;
 * the scope describes it (no memory: for counts, estimates, checks of files), allocates it, or finds it among
 * parameters that exist. Names are official checkpoint names relative to the scope's prefix. Tensors that are
 * multiplied with the same input are declared as one group, so that kernels see one large matrix.
 */
import { ConfigError } from "../tensor/errors.ts";
import { QuantizedTensor, type Weight } from "../tensor/quantized.ts";
import { type Device, type Shape, sizeOf } from "../tensor/tensor.ts";
import {
  type GroupSpec,
  type Layout,
  type MatrixRole,
  type ParameterGroup,
  parameterGroup,
} from "./parameter-group.ts";
import { Parameters } from "./parameters.ts";
import {
  resolveStorage,
  type StorageFormat,
  type StoragePlan,
  type StorageRule,
  storageRule,
} from "./storage.ts";

/** What a layer says about a group in addition to its names and sizes. */
export type GroupOptions = Partial<Omit<GroupSpec, "key" | "shape" | "parts" | "layout" | "piece">>;

/** A group as a layer declares it: names relative to the scope; a matrix unless it says otherwise. */
export type Declaration = GroupOptions & Pick<GroupSpec, "key" | "shape" | "parts">;

/** Official matrices of one input width, below each other: name, rows, and rows of a head with rotary halves. */
export interface FusedPart {
  readonly name: string;
  readonly rows: number;
  readonly rotaryRows?: number;
}

/** A layout with declarations in place of groups. */
export type LayoutDeclaration = Omit<Layout, "official" | "pieces"> & {
  readonly official: Declaration;
  readonly pieces: readonly Declaration[];
};

/** What the scopes of one module share: how a group comes about, and the names given so far. */
class Store {
  readonly keys = new Set<string>();
  readonly names = new Set<string>();
  /** Null while describing. */
  readonly device: Device | null;
  readonly group: (spec: GroupSpec) => ParameterGroup;
  readonly usesPieces: StoragePlan["usesPieces"];
  /** Whether disposing of the module's parameters frees their memory. */
  readonly owned: boolean;

  constructor(device: Device | null, group: Store["group"], usesPieces: Store["usesPieces"], owned = true) {
    this.device = device;
    this.group = group;
    this.usesPieces = usesPieces;
    this.owned = owned;
  }
}

export class ParameterScope {
  /** Put before every name: empty, or with a dot at its end. */
  readonly prefix: string;
  readonly #store: Store;
  readonly #parent: ParameterScope | null;
  readonly #role: MatrixRole | undefined;
  readonly #groups: ParameterGroup[] = [];

  private constructor(store: Store, prefix: string, parent: ParameterScope | null = null, role?: MatrixRole) {
    this.#store = store;
    this.prefix = prefix;
    this.#parent = parent;
    this.#role = role;
  }

  /** A scope without memory; of a layout it takes the official tensor. */
  static describe(prefix = ""): ParameterScope {
    const group = (spec: GroupSpec) => parameterGroup(spec, null);
    return new ParameterScope(new Store(null, group, () => false), prefix);
  }

  /** A scope whose groups are allocated, without values, as `plan` says. */
  static allocate(device: Device, plan: StoragePlan, prefix = ""): ParameterScope {
    const group = (spec: GroupSpec) => parameterGroup(spec, allocate(device, spec, plan.format(spec)));
    return new ParameterScope(new Store(device, group, plan.usesPieces), prefix);
  }

  /**
   * A scope that finds its groups among `parameters`, whose memory they are: a second module with the same weights.
   * A group that is missing or has the wrong shape is a ConfigError.
   */
  static view(parameters: Parameters, prefix = ""): ParameterScope {
    const group = (spec: GroupSpec) => {
      const found = parameters.group(spec.key);
      if (found.shape.join() === spec.shape.join()) return found;
      throw new ConfigError("a parameter has the wrong shape", {
        where: "ParameterScope.view",
        name: spec.key,
        expected: spec.shape,
        found: found.shape,
      });
    };
    const usesPieces = ({ official }: Layout) => !parameters.hasGroup(official.key);
    return new ParameterScope(new Store(parameters.device, group, usesPieces, false), prefix);
  }

  /** The device of the parameters. @throws ConfigError if they are only described */
  get device(): Device {
    const { device } = this.#store;
    if (device !== null) return device;
    throw new ConfigError("a described module has no device", {
      where: "ParameterScope",
      hint: "Make the module with allocateModule to compute with it.",
    });
  }

  /** The scope of a module inside this one: `child("layers.3")` puts `layers.3.` before its names. */
  child(name: string): ParameterScope {
    return new ParameterScope(this.#store, `${this.prefix}${name}.`, this, this.#role);
  }

  /**
   * A scope with the same prefix whose `parameters` are only those asked for through it.
   * @param role of matrices that name none themselves; default: as here
   */
  part(role?: MatrixRole): ParameterScope {
    return new ParameterScope(this.#store, this.prefix, this, role ?? this.#role);
  }

  /** Everything asked for so far through this scope and the scopes inside it, in order. */
  get parameters(): Parameters {
    const { device, owned } = this.#store;
    return new Parameters([...this.#groups], device, owned);
  }

  /** One official matrix `[rows, columns]`. @throws ConfigError on a name used twice */
  matrix(name: string, rows: number, columns: number, options: GroupOptions = {}): ParameterGroup {
    return this.declare({ ...alone(name, [rows, columns]), ...options });
  }

  /** One official vector in f32, without weight decay: a norm's weight (ones) or a bias (zeros). @throws ConfigError */
  vector(name: string, size: number, options: GroupOptions & Pick<GroupSpec, "initial">): ParameterGroup {
    return this.declare({ ...alone(name, [size]), decay: false, alwaysF32: true, ...options });
  }

  /** Official matrices stored below each other as `[sum of rows, columns]`. @throws ConfigError */
  fused(
    key: string,
    columns: number,
    parts: readonly FusedPart[],
    options: GroupOptions = {},
  ): ParameterGroup {
    return this.declare({ ...joined(key, parts, [columns]), ...options });
  }

  /** Official biases end to end, `[sum of rows]`. @throws ConfigError */
  fusedBias(key: string, parts: readonly FusedPart[]): ParameterGroup {
    return this.declare({ ...joined(key, parts, []), initial: "zeros", decay: false, alwaysF32: true });
  }

  /** The official tensor of a layout, or its pieces, as the storage asks for. @throws ConfigError */
  layout({ official, pieces, ...mapping }: LayoutDeclaration): readonly ParameterGroup[] {
    const layout: { -readonly [K in keyof Layout]: Layout[K] } = {
      ...mapping,
      official: this.#spec(official),
      pieces: [],
    };
    layout.official = { ...layout.official, layout };
    layout.pieces = pieces.map((each, piece) => ({ ...this.#spec(each), layout, piece }));
    const chosen = this.#store.usesPieces(layout) ? layout.pieces : [layout.official];
    return chosen.map((spec) => this.#add(spec));
  }

  /** Any group. @throws ConfigError on a name used twice */
  declare(declaration: Declaration): ParameterGroup {
    return this.#add(this.#spec(declaration));
  }

  #spec({ key, parts, stackedName, ...rest }: Declaration): GroupSpec {
    const { prefix } = this;
    return {
      ...{ initial: "normal", trained: true, decay: true, alwaysF32: false },
      ...rest,
      role: rest.role ?? this.#role,
      ...(stackedName !== undefined && { stackedName: prefix + stackedName }),
      key: prefix + key,
      // Written out: the largest models have tens of thousands.
      parts: parts.map(({ name, shape, offset, expert, rotaryRows }) => {
        return { name: prefix + name, shape, offset, expert, rotaryRows };
      }),
    };
  }

  #add(spec: GroupSpec): ParameterGroup {
    const { keys, names } = this.#store;
    const once = (seen: Set<string>, name: string) => {
      if (seen.has(name))
        throw new ConfigError("duplicate parameter name", { where: "ParameterScope", name });
      seen.add(name);
    };
    once(keys, spec.key);
    for (const { name } of spec.parts) once(names, name);
    const group = this.#store.group(spec);
    for (let scope: ParameterScope | null = this; scope !== null; scope = scope.#parent)
      scope.#groups.push(group);
    return group;
  }
}

/** An official tensor that is a group by itself. */
export function alone(name: string, shape: Shape): Declaration {
  return { key: name, shape, parts: [{ name, shape, offset: 0 }] };
}

function joined(key: string, parts: readonly FusedPart[], row: Shape): Declaration {
  const width = sizeOf(row);
  let rows = 0;
  const specs = parts.map(({ name, rows: count, rotaryRows }) => {
    const part = { name, shape: [count, ...row], offset: rows * width, rotaryRows };
    rows += count;
    return part;
  });
  return { key, shape: [rows, ...row], parts: specs };
}

function allocate(device: Device, spec: GroupSpec, format: StorageFormat): Weight {
  if (format === "q4" || format === "q8") return new QuantizedTensor(device, format, spec.shape);
  const tensor = device.unscoped(() => device.empty(spec.shape, format, true));
  tensor.requiresGrad = spec.trained && format === "f32";
  return tensor;
}

/** A module that computes nothing, and the parameters it declares. */
export function describeModule<T>(
  make: (scope: ParameterScope) => T,
  prefix = "",
): { readonly module: T; readonly parameters: Parameters } {
  const scope = ParameterScope.describe(prefix);
  const module = make(scope);
  return { module, parameters: scope.parameters };
}

/**
 * A module with memory for its parameters, without values: follow with `Parameters.load` or `initialize`. `make` is
 * called twice, with a scope that describes what `storage` is settled from, and with one that allocates.
 * @throws ConfigError on a name used twice
 */
export function allocateModule<T>(
  device: Device,
  storage: StorageFormat | StorageRule,
  make: (scope: ParameterScope) => T,
): T {
  const rule = typeof storage === "function" ? storage : storageRule(storage);
  const { parameters } = describeModule(make);
  const scope = ParameterScope.allocate(device, resolveStorage(parameters.groups(), rule));
  try {
    return make(scope);
  } catch (error) {
    scope.parameters[Symbol.dispose]();
    throw error;
  }
}
