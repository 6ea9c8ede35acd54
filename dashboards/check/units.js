// Figures as Grafana's units have them, those that the dashboards use.
const UNITS = {
  none: (v) => short(v),
  s: (v) => seconds(v),
  bytes: (v) => scaled(v, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB']),
  percentunit: (v) => trim(v * 100) + ' %',
  cps: (v) => short(v) + ' /s',
  cpm: (v) => short(v) + ' /min',
  dateTimeAsIso: (v) => (v > 0 ? new Date(v).toISOString().slice(0, 19).replace('T', ' ') : 'no file'),
  pps: (v) => short(v) + ' p/s',
};

function format(unit, value) {
  if (value === Infinity) return '∞';
  if (value === null || Number.isNaN(value)) return '–';
  return (UNITS[unit] ?? UNITS.none)(value);
}

function trim(v) {
  return String(Number(v.toPrecision(3)));
}

function scaled(v, base, names) {
  let i = 0;
  while (Math.abs(v) >= base && i < names.length - 1) {
    v /= base;
    i += 1;
  }
  return trim(v) + (names[i] ? ' ' + names[i] : '');
}

function short(v) {
  return scaled(v, 1000, ['', 'k', 'M', 'G', 'T']);
}

function seconds(v) {
  if (v === 0) return '0 s';
  if (v < 1e-3) return trim(v * 1e6) + ' µs';
  if (v < 1) return trim(v * 1e3) + ' ms';
  if (v < 120) return trim(v) + ' s';
  if (v < 7200) return trim(v / 60) + ' min';
  if (v < 172800) return trim(v / 3600) + ' h';
  return trim(v / 86400) + ' d';
}
