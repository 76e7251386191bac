--
-- PostgreSQL database dump
--

\restrict 1fhYsA5khvaAz5csddkX32hMml35gV0u3kDaxYuH9ozavcEz02VngYaO9Xr4fUv

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = "heap";

--
-- Name: buildid_gnubuildid; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE "public"."buildid_gnubuildid" (
    "id" integer NOT NULL,
    "elfname" "text" NOT NULL,
    "instpath" "text" NOT NULL,
    "build_id" "text" NOT NULL,
    "rpm_name" "text" NOT NULL,
    "distro" "text" NOT NULL,
    "kojibuildid" integer NOT NULL,
    "koji_type" "text" NOT NULL,
    "rpm_url" "text" NOT NULL
);


ALTER TABLE "public"."buildid_gnubuildid" OWNER TO "postgres";

--
-- Name: buildid_gnubuildid_id_seq; Type: SEQUENCE; Schema: public; Owner: postgres
--

CREATE SEQUENCE "public"."buildid_gnubuildid_id_seq"
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


ALTER TABLE "public"."buildid_gnubuildid_id_seq" OWNER TO "postgres";

--
-- Name: buildid_gnubuildid_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: postgres
--

ALTER SEQUENCE "public"."buildid_gnubuildid_id_seq" OWNED BY "public"."buildid_gnubuildid"."id";


--
-- Name: buildid_gnubuildid id; Type: DEFAULT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY "public"."buildid_gnubuildid" ALTER COLUMN "id" SET DEFAULT "nextval"('"public"."buildid_gnubuildid_id_seq"'::"regclass");


--
-- Data for Name: buildid_gnubuildid; Type: TABLE DATA; Schema: public; Owner: postgres
--

INSERT INTO "public"."buildid_gnubuildid" ("id", "elfname", "instpath", "build_id", "rpm_name", "distro", "kojibuildid", "koji_type", "rpm_url") VALUES
	(1, 'libapr-1.so.0.4.5', '/usr/lib64', '868357887701f51d867eacd0da6e5af6d8c70ce2', 'apr-1.4.5-1.fc16.x86_64', 'fc16', 267110, 'primary', 'https://kojipkgs.fedoraproject.org//packages/apr/1.4.5/1.fc16/x86_64/apr-1.4.5-1.fc16.x86_64.rpm'),
	(2, 'bash', '/bin', '0daa18d6291a5d0d174556c8c46f1345eba61a65', 'bash-4.2.10-5.fc16.x86_64', 'fc16', 0, '', ''),
	(3, 'libapr-1.so.0.4.5.debug', '/usr/lib/debug/usr/lib64', '868357887701f51d867eacd0da6e5af6d8c70ce2', 'apr-debuginfo-1.4.5-1.fc16.x86_64', 'fc16', 267110, 'primary', 'https://kojipkgs.fedoraproject.org//packages/apr-debuginfo/1.4.5/1.fc16/x86_64/apr-debuginfo-1.4.5-1.fc16.x86_64.rpm');
INSERT INTO "public"."buildid_gnubuildid" ("id", "elfname", "instpath", "build_id", "rpm_name", "distro", "kojibuildid", "koji_type", "rpm_url") VALUES
	(4, 'tab	back\slash''quote
line', '/opt/é', '00112233445566778899AABBCCDDEEFF00112233', 'odd-names-1-1.fc23.x86_64', 'fc23', 700000, 's390', ''),
	(5, 'no-id', '/bin', '-', 'bash-4.2.10-5.fc16.x86_64', 'fc16', 0, '', ''),
	(6, 'half', '/bin', 'a', 'bash-4.2.10-5.fc16.x86_64', 'fc16', 0, '', '');
INSERT INTO "public"."buildid_gnubuildid" ("id", "elfname", "instpath", "build_id", "rpm_name", "distro", "kojibuildid", "koji_type", "rpm_url") VALUES
	(7, 'bash', '/bin', '0daa18d6291a5d0d174556c8c46f1345eba61a65', 'bash-4.2.10-5.fc16.x86_64', 'fc16', 0, '', '');


--
-- Name: buildid_gnubuildid_id_seq; Type: SEQUENCE SET; Schema: public; Owner: postgres
--

SELECT pg_catalog.setval('"public"."buildid_gnubuildid_id_seq"', 7, true);


--
-- Name: buildid_gnubuildid buildid_gnubuildid_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY "public"."buildid_gnubuildid"
    ADD CONSTRAINT "buildid_gnubuildid_pkey" PRIMARY KEY ("id");


--
-- PostgreSQL database dump complete
--

\unrestrict 1fhYsA5khvaAz5csddkX32hMml35gV0u3kDaxYuH9ozavcEz02VngYaO9Xr4fUv

