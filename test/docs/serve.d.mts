export function serveAndAsk(
  code: string,
  options: { readonly cwd: string; readonly env: NodeJS.ProcessEnv },
): Promise<string>
