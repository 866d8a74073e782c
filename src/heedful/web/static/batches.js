// Batches: their forms.

import { forms } from "./forms.js";

forms();
