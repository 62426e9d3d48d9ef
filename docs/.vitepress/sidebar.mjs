// The menu of the site, by task: the text of each item, and its page. test/readme/site.spec.ts finds every page in it.
export const sidebar = [
  group('Start here', {
    'What it is, quick start': 'README.md',
    'Concepts and guarantees': 'docs/concepts.md',
    'Quick start on PostgreSQL': 'docs/quick-start-postgres.md',
    Setup: 'docs/setup.md',
    Examples: 'examples/README.md',
  }),
  group('Tasks', {
    'Work on the leader: election': 'docs/election.md',
    'Send messages': 'docs/messages.md',
    'Send streams': 'docs/streams.md',
    'Store values: key/value': 'docs/key-value.md',
    'Exclude others: locks': 'docs/locks.md',
    'Limit concurrency: semaphores': 'docs/semaphores.md',
    'Let no former holder commit: fences': 'docs/fencing.md',
    'Run at certain times: jobs': 'docs/jobs.md',
    'Hold large data: spill': 'docs/spill.md',
    'Test your application': 'docs/testing.md',
  }),
  group('Operation', {
    Troubleshooting: 'docs/troubleshooting.md',
    'Health and shutdown': 'docs/health-and-shutdown.md',
    Logs: 'docs/logs.md',
    Metrics: 'docs/metrics.md',
    Dashboard: 'docs/dashboard.md',
    'The command line': 'docs/command-line.md',
    Tracing: 'docs/tracing.md',
    'A busy event loop': 'docs/event-loop.md',
    Rollouts: 'docs/rollouts.md',
    SQLite: 'docs/sqlite.md',
    PostgreSQL: 'docs/postgres.md',
    'Cloud Spanner': 'docs/spanner.md',
    Kubernetes: 'docs/kubernetes.md',
    'Hundreds of pods': 'docs/hundreds-of-pods.md',
    'Deploy to GKE': 'docs/deploy-gke.md',
    'Several groups in one database': 'docs/groups.md',
    Upgrading: 'docs/upgrading.md',
  }),
  group('Reference', {
    Options: 'docs/options.md',
    Errors: 'docs/errors.md',
    API: 'docs/reference/index.md',
    Glossary: 'docs/glossary.md',
    'Spanner emulator': 'libs/spanner-emulator/README.md',
  }),
  group('Compare and move', {
    'Alternatives and recipes': 'docs/alternatives.md',
    "From Go's hedge": 'docs/from-go.md',
    'From Redlock': 'docs/from-redlock.md',
    'From etcd3': 'docs/from-etcd3.md',
    'Proof: a holder that stops': 'docs/fencing-proof.md',
    'From @nestjs/schedule': 'docs/from-nestjs-schedule.md',
    Benchmarks: 'BENCHMARKS.md',
  }),
  group('Project', {
    Architecture: 'ARCHITECTURE.md',
    Contributing: 'CONTRIBUTING.md',
    Changelog: 'CHANGELOG.md',
    Security: 'SECURITY.md',
    Releasing: 'RELEASING.md',
  }),
];

/**
 * The menu of the API reference: a group for each entry point of the package, and in it its classes, interfaces,
 * functions and types.
 */
export function referenceSidebar(navigation) {
  const item = ({ title, path, children }) => ({
    text: title,
    ...(path !== undefined && { link: `/docs/reference/${path}` }),
    ...(children !== undefined && { items: children.map(item), collapsed: true }),
  });
  // TypeDoc puts an entry point such as nestjs-hedge/sqlite into nestjs-hedge, beside the kinds of names.
  return navigation.flatMap(({ title, path, children }) => [
    { ...item({ title, path, children: children.filter((child) => child.path === undefined) }), collapsed: false },
    ...children
      .filter((child) => child.path !== undefined)
      .map((child) => item({ ...child, title: `${title}/${child.title}` })),
  ]);
}

function group(text, pages) {
  return { text, items: Object.entries(pages).map(([title, page]) => ({ text: title, link: linkOf(page) })) };
}

function linkOf(page) {
  return `/${page === 'README.md' ? '' : page}`;
}
