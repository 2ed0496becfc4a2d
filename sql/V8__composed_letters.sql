-- Letters with accents are found by their capitals, also where a capital is several characters.
--
-- The function that is replaced answers the same for all other letters, so the previous release goes on working with it.

SET LOCAL client_min_messages = warning;

-- A text whose letters and accents are composed (NFC). Most texts are, and looking whether they are takes a third of composing
-- them.
CREATE FUNCTION public.todo_composed(original text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE WHEN original IS NORMALIZED THEN original ELSE normalize(original) END;

-- As in V5, but letters are composed after they are in lower case: some, such as U+0390, have a capital only with accents of its
-- own, and its lower case is not composed.
CREATE OR REPLACE FUNCTION public.todo_fold_case(original text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE
    WHEN octet_length(original) = char_length(original) THEN lower(original COLLATE pg_catalog."C")
    ELSE replace(replace(replace(
        public.todo_composed(lower(original COLLATE public.todo_letters)),
        U&'\03C2', U&'\03C3'), U&'\00DF', 'ss'), U&'i\0307', 'i') COLLATE pg_catalog."C"
END;
