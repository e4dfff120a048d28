/** Dates, numbers, sizes, durations and money in one language. Unknown values are an en dash everywhere. */

export const UNKNOWN = "–";

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;

export type Formatters = ReturnType<typeof createFormatters>;

/** `timeZone` is for tests; the browser's own otherwise. */
export function createFormatters(locale: string, timeZone?: string) {
  const zone = timeZone ? { timeZone } : {};
  const integer = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
  const percentage = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 0 });
  const plain = new Intl.NumberFormat(locale, { maximumSignificantDigits: 4 });
  const lossDigits = new Intl.NumberFormat(locale, { minimumFractionDigits: 4, maximumFractionDigits: 4 });
  const rate = new Intl.NumberFormat("en", { notation: "scientific", maximumSignificantDigits: 3 });
  const dollars = money(locale, 2);
  const cents = money(locale, 4);
  const dateTime = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short", ...zone });
  const clock = new Intl.DateTimeFormat(locale, { timeStyle: "medium", ...zone });
  const relative = new Intl.RelativeTimeFormat(locale, { numeric: "always", style: "short" });
  const units = new Map<string, Intl.NumberFormat>();

  function unit(name: string, value: number, digits = 0): string {
    const key = `${name}/${digits}`;
    let format = units.get(key);
    if (!format) {
      format = new Intl.NumberFormat(locale, {
        style: "unit",
        unit: name,
        // "437 byte" is what the short form makes of bytes in English.
        unitDisplay: name === "byte" ? "long" : "short",
        maximumFractionDigits: digits,
      });
      units.set(key, format);
    }
    return format.format(value);
  }

  return {
    integer: (value: number | null) => (value === null ? UNKNOWN : integer.format(value)),

    /** `value` is 0 to 100. Never rounds up to 100 %: only a whole job says that. */
    percent: (value: number | null) =>
      value === null ? UNKNOWN : percentage.format(Math.floor(Math.min(value, 100)) / 100),

    /** A loss; NaN and infinity are said as such, they are findings. */
    loss(value: number | null): string {
      if (value === null) return UNKNOWN;
      if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
      return Math.abs(value) >= 0.001 && Math.abs(value) < 100
        ? lossDigits.format(value)
        : plain.format(value);
    },

    /** A mark on an axis: no more digits than it needs. */
    tick: (value: number) => plain.format(value),

    /** A learning rate the way configs write it: 1e-4. */
    learningRate: (value: number | null) => (value === null ? UNKNOWN : rate.format(value).toLowerCase()),

    /** US dollars. Amounts under ten cents show up to four digits: a sandbox minute would read $0.00 otherwise. */
    money(value: number | null): string {
      if (value === null) return UNKNOWN;
      return value > 0 && value < 0.1 ? cents.format(value) : dollars.format(value);
    },

    bytes(value: number | null): string {
      if (value === null) return UNKNOWN;
      const names = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
      let index = 0;
      let size = value;
      // 999.95 would be shown as 1,000: step up before it does.
      while (size >= 999.95 && index < names.length - 1) {
        size /= 1000;
        index += 1;
      }
      return unit(names[index] ?? "byte", size, index === 0 || size >= 100 ? 0 : 1);
    },

    /** At most two units: 42 sec, 12 min, 3 hr 5 min, 2 days 4 hr. */
    duration(seconds: number | null): string {
      if (seconds === null) return UNKNOWN;
      const whole = Math.max(0, Math.round(seconds));
      if (whole < MINUTE) return unit("second", whole);
      if (whole < 10 * MINUTE) return pair("minute", "second", whole, MINUTE, 1);
      if (whole < HOUR) return unit("minute", Math.round(whole / MINUTE));
      if (whole < DAY) return pair("hour", "minute", whole, HOUR, MINUTE);
      return pair("day", "hour", whole, DAY, HOUR);
    },

    dateTime: (iso: string | null) => (iso === null ? UNKNOWN : dateTime.format(new Date(iso))),
    time: (iso: string | null) => (iso === null ? UNKNOWN : clock.format(new Date(iso))),

    /** "12 min. ago"; times in the future count as one second ago (clocks differ). */
    ago(then: number, now: number): string {
      const seconds = Math.max(1, Math.round((now - then) / 1000));
      if (seconds < MINUTE) return relative.format(-seconds, "second");
      if (seconds < HOUR) return relative.format(-Math.floor(seconds / MINUTE), "minute");
      if (seconds < DAY) return relative.format(-Math.floor(seconds / HOUR), "hour");
      return relative.format(-Math.floor(seconds / DAY), "day");
    },
  };

  function pair(large: string, small: string, seconds: number, largeSize: number, smallSize: number): string {
    const total = Math.round(seconds / smallSize);
    const per = largeSize / smallSize;
    const rest = total % per;
    const head = unit(large, Math.floor(total / per));
    return rest === 0 ? head : `${head} ${unit(small, rest)}`;
  }
}

const money = (locale: string, digits: number) =>
  new Intl.NumberFormat(locale, {
    style: "currency",
    currency: "USD",
    currencyDisplay: "narrowSymbol",
    minimumFractionDigits: 2,
    maximumFractionDigits: digits,
  });
