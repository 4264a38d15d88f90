/**
 * The proleptic Gregorian calendar as PostgreSQL keeps it: days and microseconds since an epoch, and the ISO text
 * for them. There is no year 0: the one before 1 is 1 BC.
 */

/** 2000-01-01, from which PostgreSQL's binary formats count, in days since 1970-01-01. */
export const postgresEpochDays = 10_957;
const dayUs = 86_400_000_000n;

/** Days in 400 years, after which the calendar repeats. */
const eraDays = 146_097;
/** From 0000-03-01, with which an era begins here because the leap day then comes last, to 1970-01-01. */
const eraToUnixDays = 719_468;

export interface CivilDate {
  /** Astronomical: 0 is 1 BC. */
  readonly year: number;
  readonly month: number;
  readonly day: number;
}

/** Days from 1970-01-01 to a date. `year` is astronomical: 0 is 1 BC. */
export function daysOfDate(year: number, month: number, day: number): number {
  const marchYear = month > 2 ? year : year - 1;
  const era = Math.floor(marchYear / 400);
  const yearOfEra = marchYear - era * 400;
  const dayOfYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * eraDays + dayOfEra - eraToUnixDays;
}

/** The reverse of {@link daysOfDate}. */
export function dateOfDays(days: number): CivilDate {
  const shifted = days + eraToUnixDays;
  const era = Math.floor(shifted / eraDays);
  const dayOfEra = shifted - era * eraDays;
  const yearOfEra = Math.floor(
    (dayOfEra -
      Math.floor(dayOfEra / 1460) +
      Math.floor(dayOfEra / 36_524) -
      Math.floor(dayOfEra / 146_096)) /
      365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const marchMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * marchMonth + 2) / 5) + 1;
  const month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9;
  return { year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day };
}

/** `YYYY-MM-DD`, years beyond 9999 with more digits; ` BC` is for the caller to add, see {@link isBC}. */
export function dateText({ year, month, day }: CivilDate): string {
  const shown = year > 0 ? year : 1 - year;
  return `${String(shown).padStart(4, "0")}-${two(month)}-${two(day)}`;
}

export function isBC(date: CivilDate): boolean {
  return date.year <= 0;
}

/** `HH:MM:SS`, and a fraction without its last zeros. Takes microseconds, up to 24 hours and beyond. */
export function clockText(microseconds: number): string {
  const seconds = Math.floor(microseconds / 1_000_000);
  const minutes = Math.floor(seconds / 60);
  return `${two(Math.floor(minutes / 60))}:${two(minutes % 60)}:${secondsText(seconds % 60, microseconds % 1_000_000)}`;
}

/** Two digits of seconds, and a fraction without its last zeros. */
export function secondsText(seconds: number, microseconds: number): string {
  if (microseconds === 0) return two(seconds);
  return `${two(seconds)}.${String(microseconds).padStart(6, "0").replace(/0+$/, "")}`;
}

/**
 * `YYYY-MM-DD HH:MM:SS[.ffffff]`, then `zone`, then ` BC` where it is, as PostgreSQL writes and reads it under
 * DateStyle ISO (docs 8.5.2). `separator` stands between the date and the time.
 */
export function timestampText(epochMicroseconds: bigint, zone: string, separator = " "): string {
  let days = epochMicroseconds / dayUs;
  let rest = epochMicroseconds % dayUs;
  if (rest < 0n) {
    rest += dayUs;
    days -= 1n;
  }
  const date = dateOfDays(Number(days));
  return `${dateText(date)}${separator}${clockText(Number(rest))}${zone}${isBC(date) ? " BC" : ""}`;
}

export function two(value: number): string {
  return value < 10 ? `0${value}` : String(value);
}
