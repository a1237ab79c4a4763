// What Linux says of a process, and of the machine: /proc, read.
import fs from 'fs';

const TICK_MS = 10; // USER_HZ is 100 on every Linux that Node runs on

// CPU of all threads, ms; largest memory, bytes; bytes that came from a device
export function usageOf(pid) {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8');
  let deviceBytes = null; // not for us to see everywhere
  try {
    deviceBytes = Number(fs.readFileSync(`/proc/${pid}/io`, 'utf8').match(/^read_bytes: (\d+)/m)[1]);
  } catch { /* as it is */ }
  return {
    cpuMs: (Number(fields[11]) + Number(fields[12])) * TICK_MS,
    peakBytes: Number(status.match(/VmHWM:\s+(\d+)/)?.[1] || 0) * 1024,
    deviceBytes,
  };
}

export function resetPeak(pid) {
  try {
    fs.writeFileSync(`/proc/${pid}/clear_refs`, '5');
  } catch { /* then the peak is that of the whole run */ }
}

export const loadAverage = () => Number(fs.readFileSync('/proc/loadavg', 'utf8').split(' ')[0]);
export const memoryBytes = () => Number(fs.readFileSync('/proc/meminfo', 'utf8').match(/MemTotal:\s+(\d+)/)[1]) * 1024;
export const nowMs = () => Number(process.hrtime.bigint()) / 1e6;

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[(sorted.length - 1) >> 1];
}

// All files below a folder, with their sizes.
export function filesBelow(folder) {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
    const path = `${folder}/${entry.name}`;
    return entry.isDirectory() ? filesBelow(path) : entry.isFile() ? [{ path, bytes: fs.statSync(path).size }] : [];
  });
}
