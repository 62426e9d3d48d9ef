// Checks the subjects of commits: 15 to 72 characters.
//   node scripts/check-commits.mjs                  the commits of this branch after START
//   node scripts/check-commits.mjs --from COMMIT    the commits of this branch after COMMIT
//   node scripts/check-commits.mjs --message FILE   one commit message (the hook .githooks/commit-msg)
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

const MIN = 15;
const MAX = 72;

/**
 * The last commit before the rule. A shallow clone does not contain it, and a rewrite of older history changes its id. In
 * these cases its date decides, which does not change: commits with a later author date are checked.
 */
const START = { commit: '097541cd5d73f186d59471872f1a086bad382c65', date: '2026-11-27T03:01:24Z' };

try {
  const { values } = parseArgs({ options: { from: { type: 'string' }, message: { type: 'string' } } });
  const subjects = values.message === undefined ? subjectsAfter(values.from) : [subjectOf(values.message)];
  const wrong = subjects.filter(({ subject }) => !isRight(subject));
  for (const { where, subject } of wrong) {
    const length = Array.from(subject).length;
    console.error(`${where}: the subject "${subject}" has ${length} characters. Use ${MIN} to ${MAX}.`);
  }
  if (wrong.length > 0) console.error('Put the reason into the body. To reword an older commit: git rebase -i');
  else if (values.message === undefined) console.log(`${subjects.length} commit subjects checked`);
  process.exitCode = wrong.length > 0 ? 1 : 0;
} catch (error) {
  console.error(`The commit subjects could not be checked: ${error.message}`);
  process.exitCode = 2;
}

function isRight(subject) {
  const length = Array.from(subject).length; // characters, not UTF-16 units
  return length >= MIN && length <= MAX;
}

function subjectsAfter(from) {
  if (from !== undefined && isAncestor(from)) return commits(`${from}..HEAD`);
  // The commit that was given is unknown after a forced push, and all zeros for a new branch.
  if (from !== undefined) console.log(`There is no commit ${from} before HEAD; checking all commits after the start.`);
  if (isAncestor(START.commit)) return commits(`${START.commit}..HEAD`);
  return commits('HEAD').filter(({ date }) => Date.parse(date) > Date.parse(START.date));
}

function isAncestor(commit) {
  return git(['merge-base', '--is-ancestor', commit, 'HEAD']).status === 0;
}

/** Without merges, whose subjects git and GitHub make. */
function commits(range) {
  const { status, stdout, stderr } = git(['log', '--no-merges', '--format=%h%x09%aI%x09%s', range]);
  if (status !== 0) throw new Error(`git log ${range}: ${stderr.trim()}`);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [where, date, ...subject] = line.split('\t');
      return { where, date, subject: subject.join('\t') };
    });
}

function git(args) {
  const { error, ...result } = spawnSync('git', args, { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
  if (error !== undefined) throw error;
  return result;
}

/** The first line that is not a comment. Commits that a rebase will squash, and merges, may have any subject. */
function subjectOf(file) {
  const lines = readFileSync(file, 'utf8').split('\n');
  const subject = lines.find((line) => line.trim() !== '' && !line.startsWith('#')) ?? '';
  const exempt = subject === '' || /^(fixup|squash|amend)! |^Merge /.test(subject);
  return { where: 'commit message', subject: exempt ? ' '.repeat(MIN) : subject.trimEnd() };
}
