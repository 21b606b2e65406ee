// What the Console's pages do beyond HTML. Every page works without this file; it makes times local,
// keeps the theme, copies, confirms on the spot and keeps live rows alive.
import { localTimes } from "./times.js";
import { themeSwitch } from "./theme.js";
import { copyButtons } from "./copy.js";
import { forms } from "./forms.js";
import { requests } from "./requests.js";
import { palette } from "./palette.js";

localTimes();
themeSwitch();
copyButtons();
forms();
requests();
palette();
