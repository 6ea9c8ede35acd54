// What a site may want otherwise: set these in a file of its own that imports mixin.libsonnet.
{
  _config+:: {
    // Which scrape jobs are tcp-trace's.
    tcpTraceSelector: 'job=~"tcp-trace.*"',

    // Where an alert's runbook stands. The daemon serves those of its own version itself.
    runbookUrl: 'http://{{ $labels.instance }}/runbooks/%s',

    // An alert that a process runs out of file descriptors: so long before.
    fdExhaustionSeconds: 4 * 3600,
    fdExhaustionCriticalSeconds: 1800,
    // How old the oldest socket in CLOSE_WAIT may be.
    closeWaitOldestSeconds: 3600,
    // How many sockets may come to be leaked within half an hour.
    closeWaitLeaksPerHalfHour: 10,
    // The share of the local ports to one destination that may be in use.
    portUsageRatio: 0.8,
    // The share of connections that may fail, and of those that may end with a RST.
    connectFailureRatio: 0.05,
    resetRatio: 0.1,
    // Below so many events a second a share says nothing.
    leastEventsPerSecond: 0.1,
    // The share of what the kernel has counted that must have been seen.
    coverageRatio: 0.95,
    // How full the table may be.
    tableRatio: 0.9,

    dashboardTags: ['tcp-trace'],
    dashboardRefresh: '30s',
    dashboardFrom: 'now-3h',
  },
}
