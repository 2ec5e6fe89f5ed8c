/** `datetime.strftime` in the C locale, for `strftime_now`. */
import { unsupported } from "./errors.ts";

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = [
  "January", "February", "March", "April", "May", "June",
  "July", "August", "September", "October", "November", "December",
]; // biome-ignore format: a table

const DAY = 86_400_000;

/** Day of the year, from 0. */
function yearDay(date: Date): number {
  const midnight = Date.UTC(date.getFullYear(), date.getMonth(), date.getDate());
  return (midnight - Date.UTC(date.getFullYear(), 0, 1)) / DAY;
}

/** Year and number of the ISO week. */
function isoWeek(date: Date): { year: number; week: number } {
  const weekday = (date.getDay() + 6) % 7;
  const thursday = new Date(Date.UTC(date.getFullYear(), date.getMonth(), date.getDate() - weekday + 3));
  const year = thursday.getUTCFullYear();
  return { year, week: 1 + Math.floor((thursday.getTime() - Date.UTC(year, 0, 1)) / DAY / 7) };
}

const number = (value: number, width: number, fill = "0") => ({ text: String(value), width, fill });

/** Numbers with the width that the C library fills them to. */
function numberOf(code: string, date: Date) {
  const hour = date.getHours();
  const twelve = hour % 12 === 0 ? 12 : hour % 12;
  switch (code) {
    case "d":
      return number(date.getDate(), 2);
    case "e":
      return number(date.getDate(), 2, " ");
    case "m":
      return number(date.getMonth() + 1, 2);
    case "y":
      return number(date.getFullYear() % 100, 2);
    case "Y":
      return number(date.getFullYear(), 1);
    case "C":
      return number(Math.floor(date.getFullYear() / 100), 2);
    case "H":
      return number(hour, 2);
    case "k":
      return number(hour, 2, " ");
    case "I":
      return number(twelve, 2);
    case "l":
      return number(twelve, 2, " ");
    case "M":
      return number(date.getMinutes(), 2);
    case "S":
      return number(date.getSeconds(), 2);
    case "j":
      return number(yearDay(date) + 1, 3);
    case "U":
      return number(Math.floor((yearDay(date) + 7 - date.getDay()) / 7), 2);
    case "W":
      return number(Math.floor((yearDay(date) + 7 - ((date.getDay() + 6) % 7)) / 7), 2);
    case "V":
      return number(isoWeek(date).week, 2);
    case "G":
      return number(isoWeek(date).year, 1);
    case "g":
      return number(isoWeek(date).year % 100, 2);
    case "w":
      return number(date.getDay(), 1);
    case "u":
      return number(date.getDay() === 0 ? 7 : date.getDay(), 1);
  }
  return undefined;
}

const COMPOSED: Readonly<Record<string, string>> = {
  c: "%a %b %e %H:%M:%S %Y",
  x: "%m/%d/%y",
  X: "%H:%M:%S",
  D: "%m/%d/%y",
  F: "%Y-%m-%d",
  T: "%H:%M:%S",
  R: "%H:%M",
  r: "%I:%M:%S %p",
};

function textOf(code: string, date: Date): string | undefined {
  switch (code) {
    case "a":
      return DAYS[date.getDay()].slice(0, 3);
    case "A":
      return DAYS[date.getDay()];
    case "b":
    case "h":
      return MONTHS[date.getMonth()].slice(0, 3);
    case "B":
      return MONTHS[date.getMonth()];
    case "p":
      return date.getHours() < 12 ? "AM" : "PM";
    case "P":
      return date.getHours() < 12 ? "am" : "pm";
    case "f":
      return `${String(date.getMilliseconds()).padStart(3, "0")}000`;
    case "n":
      return "\n";
    case "t":
      return "\t";
    case "%":
      return "%";
    // A time without a zone has neither offset nor name.
    case "z":
    case "Z":
      return "";
  }
  return undefined;
}

/** @throws TemplateError for a directive that differs between systems */
export function strftime(format: string, date: Date): string {
  return format.replace(/%([-_0^#]?)([\s\S]?)/g, (whole, flag: string, code: string) => {
    const numeric = numberOf(code, date);
    if (numeric !== undefined && flag !== "^" && flag !== "#") {
      if (flag === "-") return numeric.text;
      const fill = flag === "_" ? " " : flag === "0" ? "0" : numeric.fill;
      return numeric.text.padStart(numeric.width, fill);
    }
    if (flag === "") {
      if (code in COMPOSED) return strftime(COMPOSED[code], date);
      const text = textOf(code, date);
      if (text !== undefined) return text;
    }
    if (flag === "^") {
      const text = textOf(code, date);
      if (text !== undefined) return text.toUpperCase();
    }
    return unsupported(`'${whole}' in strftime_now`);
  });
}
