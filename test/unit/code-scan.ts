import { parseSync, visitorKeys, type Node } from 'oxc-parser';

/**
 * Finds the codes that the sources give out, by their syntax: what stands for a `code`. That is the value of a property or
 * constant called `code`, an argument for a parameter called `code`, and what a type lets such a property be.
 */

type AnyNode = Node & Record<string, unknown>;

export interface Source {
  file: string;
  text: string;
}

/** A code with where it stands, as `file:line`. */
export interface Use {
  code: string;
  at: string;
}

/** Names under which a function or class is called, with the place of its parameter that is a code. */
type Givers = Map<string, Set<number>>;

const shape = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/;

/** Every code that the sources give out. `names` are the properties and parameters that hold one, for example `code`. */
export function codesIn(sources: readonly Source[], names: readonly string[]): Use[] {
  const trees = sources.map((source) => ({ source, program: parsed(source) }));
  const own = new Map(trees.map(({ source, program }) => [source.file, giversIn(program, names, false)]));
  const shared: Givers = new Map();
  for (const { program } of trees)
    for (const [name, places] of giversIn(program, names, true)) shared.set(name, new Set([...(shared.get(name) ?? []), ...places]));
  return trees.flatMap(({ source, program }) => {
    const found: Use[] = [];
    const take = (node: unknown): void => {
      for (const { value, start } of literalsOf(node as AnyNode | null))
        if (shape.test(value)) found.push({ code: value, at: `${source.file}:${source.text.slice(0, start).split('\n').length}` });
    };
    walk(program, (node) => {
      if ((node.type === 'Property' || node.type === 'PropertyDefinition') && names.includes(nameOf(node['key']))) take(node['value']);
      if (node.type === 'TSPropertySignature' && names.includes(nameOf(node['key']))) take(node['typeAnnotation']);
      if (node.type === 'Identifier' && names.includes(nameOf(node))) take(node['typeAnnotation']);
      if (node.type === 'VariableDeclarator' && names.includes(nameOf(node['id']))) take(node['init']);
      for (const said of textsOf(node)) {
        const code = /^mailtwin: ([a-z-]+): /.exec(said)?.[1];
        if (code !== undefined) found.push({ code, at: `${source.file}:${source.text.slice(0, node.start).split('\n').length}` });
      }
      if (node.type === 'CallExpression' || node.type === 'NewExpression') {
        const callee = nameOf(
          (node['callee'] as AnyNode).type === 'MemberExpression' ? (node['callee'] as AnyNode)['property'] : node['callee'],
        );
        const args = node['arguments'] as AnyNode[];
        for (const place of own.get(source.file)?.get(callee) ?? shared.get(callee) ?? []) take(args[place]);
      }
    });
    return found;
  });
}

/** The text of a literal, or the first of a template. */
function textsOf(node: AnyNode): string[] {
  if (node.type === 'Literal') return typeof node['value'] === 'string' ? [node['value']] : [];
  const [first] = node.type === 'TemplateLiteral' ? (node['quasis'] as { value: { cooked: string | null } }[]) : [];
  return first?.value.cooked ? [first.value.cooked] : [];
}

function parsed({ file, text }: Source): AnyNode {
  const { program, errors } = parseSync(file, text, { sourceType: 'module', preserveParens: false });
  if (errors.length > 0) throw new Error(`${file}: ${errors[0]?.message}`);
  return program as unknown as AnyNode;
}

/** Functions, methods and classes with a parameter of one of the names. `shared`: only those that other files can call. */
function giversIn(program: AnyNode, names: readonly string[], shared: boolean): Givers {
  const givers: Givers = new Map();
  const add = (name: string, fn: AnyNode | null): void => {
    const params = (fn?.['params'] ?? (fn?.['value'] as AnyNode | undefined)?.['params']) as AnyNode[] | undefined;
    // One of the same file that takes no code is still the one that is meant there.
    if (name === '' || !params) return;
    const places = params.flatMap((param, place) => (names.includes(nameOf(paramOf(param))) ? [place] : []));
    if (places.length > 0 || !shared) givers.set(name, new Set([...(givers.get(name) ?? []), ...places]));
  };
  walk(program, (node, parent) => {
    const isShared = parent === null || parent.type === 'ExportNamedDeclaration';
    if (node.type === 'FunctionDeclaration' && (!shared || isShared)) add(nameOf(node['id']), node);
    if (node.type === 'VariableDeclarator' && !shared) add(nameOf(node['id']), node['init'] as AnyNode | null);
    if (node.type === 'MethodDefinition' && !shared) add(nameOf(node['key']), node);
    if (node.type === 'TSMethodSignature') add(nameOf(node['key']), node);
    if (node.type === 'ClassDeclaration' && (!shared || isShared)) {
      const members = (node['body'] as AnyNode)['body'] as AnyNode[];
      add(nameOf(node['id']), members.find((member) => member['kind'] === 'constructor') ?? null);
    }
    if (node.type === 'Identifier' && !shared && (node['typeAnnotation'] as AnyNode | null)?.['typeAnnotation'])
      add(
        nameOf(node),
        ((node['typeAnnotation'] as AnyNode)['typeAnnotation'] as AnyNode).type === 'TSFunctionType'
          ? ((node['typeAnnotation'] as AnyNode)['typeAnnotation'] as AnyNode)
          : null,
      );
  });
  return givers;
}

function paramOf(param: AnyNode): AnyNode {
  if (param.type === 'AssignmentPattern') return param['left'] as AnyNode;
  if (param.type === 'TSParameterProperty') return param['parameter'] as AnyNode;
  return param;
}

/** The texts that an expression or a type can be, as far as they stand there. */
function literalsOf(node: AnyNode | null | undefined): { value: string; start: number }[] {
  if (!node) return [];
  switch (node.type) {
    case 'Literal':
      return typeof node['value'] === 'string' ? [{ value: node['value'], start: node.start }] : [];
    case 'TSLiteralType':
      return literalsOf(node['literal'] as AnyNode);
    case 'TSTypeAnnotation':
      return literalsOf(node['typeAnnotation'] as AnyNode);
    case 'ConditionalExpression':
      return [...literalsOf(node['consequent'] as AnyNode), ...literalsOf(node['alternate'] as AnyNode)];
    case 'LogicalExpression':
      return [...literalsOf(node['left'] as AnyNode), ...literalsOf(node['right'] as AnyNode)];
    case 'TSUnionType':
      return (node['types'] as AnyNode[]).flatMap(literalsOf);
    case 'TSAsExpression':
    case 'TSSatisfiesExpression':
    case 'TSNonNullExpression':
      return literalsOf(node['expression'] as AnyNode);
    case 'ArrayExpression':
      return (node['elements'] as AnyNode[]).flatMap(literalsOf);
    case 'CallExpression':
      // z.enum([...]), z.literal('...')
      return ['enum', 'literal'].includes(nameOf((node['callee'] as AnyNode)['property']))
        ? (node['arguments'] as AnyNode[]).flatMap(literalsOf)
        : [];
    default:
      return [];
  }
}

function nameOf(node: unknown): string {
  const { name, value } = (node ?? {}) as { name?: unknown; value?: unknown };
  return typeof name === 'string' ? name : typeof value === 'string' ? value : '';
}

function walk(node: AnyNode, visit: (node: AnyNode, parent: AnyNode | null) => void, parent: AnyNode | null = null): void {
  visit(node, parent);
  for (const key of visitorKeys[node.type] ?? [])
    for (const child of [node[key]].flat()) if (typeof child === 'object' && child !== null) walk(child as AnyNode, visit, node);
}
