// The door, invitations and one's own settings: forms that send JSON.

import { forms } from "./forms.js";

forms();
