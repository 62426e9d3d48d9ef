import { Argument, type Command, type Option } from 'commander';
import type { CommandAdder } from '../command.js';

/** Each asks `complete` for the candidates, with the words up to the cursor. */
const SCRIPTS: Readonly<Record<string, string>> = {
  bash: `_nestjs_hedge() {
  local IFS=$'\\n'
  COMPREPLY=($(nestjs-hedge complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _nestjs_hedge nestjs-hedge
`,
  zsh: `#compdef nestjs-hedge
_nestjs_hedge() {
  local -a found
  found=("\${(@f)$(nestjs-hedge complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  compadd -a found
}
compdef _nestjs_hedge nestjs-hedge
`,
  fish: `complete -c nestjs-hedge -f -a '(nestjs-hedge complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
`,
};

export function addCompletionCommand(program: Command, { add, terminal }: CommandAdder): void {
  add(
    program,
    'completion',
    'Prints a script that completes the commands and options in a shell. Needs nestjs-hedge on the PATH.',
    'completion bash >> ~/.bashrc',
  )
    .addArgument(new Argument('<shell>', 'the shell').choices(Object.keys(SCRIPTS)))
    .action((shell: string) => terminal.out(SCRIPTS[shell] ?? ''));

  program
    .command('complete [words...]', { hidden: true })
    .description('Prints the candidates for the last word, one a line.')
    .action((words: string[]) =>
      terminal.out(
        candidates(program, words)
          .map((word) => `${word}\n`)
          .join(''),
      ),
    );
}

/** The words that can stand in place of the last one. */
export function candidates(program: Command, words: readonly string[]): string[] {
  const [last = '', before] = [words.at(-1), words.at(-2)];
  let command = program;
  for (const word of words.slice(0, -1)) {
    // Behind this, the words belong to the command that `lock` runs.
    if (word === '--') return [];
    command = command.commands.find((child) => child.name() === word) ?? command;
  }
  const options = [...command.options, ...(command === program ? [] : program.options)];
  const open =
    before === undefined ? undefined : options.find((option) => takesValue(option) && isNamed(option, before));
  const found =
    open === undefined
      ? [
          ...command
            .createHelp()
            .visibleCommands(command)
            .map((child) => child.name()),
          ...options.map(({ long }) => long ?? ''),
        ]
      : (open.argChoices ?? []);
  const choices = open === undefined ? command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []) : [];
  return [...found, ...choices].filter((word) => word !== '' && word.startsWith(last));
}

function takesValue({ required, optional }: Option): boolean {
  return required || optional;
}

function isNamed({ short, long }: Option, word: string): boolean {
  return word === short || word === long;
}
