// Every dashboard by the name of its file.
local fleet = import 'dashboards/fleet.libsonnet';
local host = import 'dashboards/host.libsonnet';
local leaks = import 'dashboards/leaks.libsonnet';
local tracer = import 'dashboards/tracer.libsonnet';
{
  grafanaDashboards+:: {
    'tcp-trace-fleet.json': fleet($._config),
    'tcp-trace-host.json': host($._config),
    'tcp-trace-leaks.json': leaks($._config),
    'tcp-trace-tracer.json': tracer($._config),
  },
}
