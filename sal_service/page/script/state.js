// What the page knows. The other files draw from here; nothing is read back from what is drawn.

const app = {
  session: null, // who is asking (SessionAnswer)
  galleries: new Map(), // by name (GalleryAnswer)
  gallery: null, // the name of the chosen one
  groups: [], // what it can be asked for (WordGroupAnswer)
  wordsGeneration: null, // of the encoders whose words these are
  choices: new Map(), // chosen attributes: name of the group -> {values: [...], negated}
  question: null, // what the answer answers: {kind: "description" | "like" | "picture", ...}
  answer: null, // SearchAnswer
  hits: [], // of all its parts that were fetched
  marks: new Map(), // uri -> "right" | "wrong"
  fresh: new Set(), // people who came since the answer
  cameras: new Map(), // by name (CameraAnswer)
  watches: [], // WatchAnswer
  notices: new Map(), // what watches told and nobody dismissed yet, by watch and track
};

const PAGE_SIZE = 24;
const MOST_LIKE_PICTURE = 60; // an answer to a picture has one part
const UNLIKELY = 0.2; // below it a hit probably does not fit: the limit of the notes of the service, too

const isWide = matchMedia("(min-width: 62rem)"); // room for the filters beside the answer
const may = (role) => app.session !== null && (app.session.roles.includes(role) || app.session.roles.includes("admin"));
